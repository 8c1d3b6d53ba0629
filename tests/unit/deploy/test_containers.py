"""Dockerfile, Compose, Kubernetes, systemd: right by their own programs and schemas, and careful."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

ROOT: Final = Path(__file__).parents[3]
DEPLOY: Final = ROOT / "deploy"
OVERLAYS: Final = ("staging", "production")
#: The oldest Kubernetes that the manifests are for, and the newest whose schema the lock file has.
KUBERNETES: Final = ("1.27", "1.37")
#: Where a service is reached on the machine itself.
PORTS: Final = {
    "trade-engine": {8080: 8080, 8081: 8081},
    "postgres": {5433: 5432},
    "redis": {6380: 6379},
    "rabbitmq": {5673: 5672, 15673: 15672},
    "pgbouncer": {6433: 6432},
    "prometheus": {9091: 9090},
    "alertmanager": {9093: 9093},
    "grafana": {3001: 3000},
    "jaeger": {16686: 16686},
}
INNER: Final = {"migrate", "postgres-exporter", "redis-exporter"}
DEMANDED: Final = re.compile(r"\$\{(\w+):\?[^}]*\}")
GIVEN: Final = re.compile(r"\$\{(\w+):-([^}]*)\}")


def program(name: str) -> str:
    """A program of requirements-deploy.lock; the test is skipped where this platform has none, except in CI."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        assert os.environ.get("CI") != "true", f"{name} is missing"
        pytest.skip(f"{name} is not there: make install-dev")
    return found


def run(*words: str, given: str | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [program(words[0]), *words[1:]],
        input=given, capture_output=True, text=True, timeout=120, check=False, cwd=ROOT, env=os.environ | environment,
    )  # fmt: skip


def right(*words: str, given: str | None = None, **environment: str) -> str:
    done = run(*words, given=given, **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# ---- the image


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    right("hadolint", "--failure-threshold", "style", "deploy/docker/Dockerfile")


def test_hadolint_would_find_something() -> None:
    done = run("hadolint", "-", given="FROM debian:latest\nRUN cd /tmp && sudo true\n")
    assert done.returncode == 1
    assert "DL3004" in done.stdout


def test_the_build_context_has_what_the_dockerfile_copies() -> None:
    """What .dockerignore lets through is what is copied, and the Dockerfile's files are there."""
    kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for line in (DEPLOY / "docker" / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY ") and "--from=" not in line:
            for source in [word for word in line.split()[1:-1] if not word.startswith("--")]:
                assert (ROOT / source).exists(), source
                assert any(Path(source).match(name) or source.startswith(name) for name in kept), source


# ---- Compose


@cache
def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return found


def test_compose_follows_its_schema() -> None:
    right("check-jsonschema", "--builtin-schema", "vendor.compose-spec", "deploy/compose.yaml")


def test_compose_publishes_on_loopback_alone() -> None:
    assert set(compose()["services"]) == set(PORTS) | INNER
    for name, service in compose()["services"].items():
        published = [port.split(":") for port in service.get("ports", [])]
        assert all(address == "127.0.0.1" for address, _, _ in published), name
        assert {int(outer): int(inner) for _, outer, inner in published} == PORTS.get(name, {}), name


def test_compose_checks_the_health_of_each_service_and_keeps_its_data() -> None:
    for name, service in compose()["services"].items():
        assert name == "migrate" or service["healthcheck"]["test"], name
    kept = {volume.split(":")[0] for service in compose()["services"].values() for volume in service.get("volumes", [])}
    assert set(compose()["volumes"]) == {name for name in kept if not name.startswith("./")}
    for name in kept:
        assert not name.startswith("./") or (DEPLOY / name).exists(), name


def test_compose_demands_every_password() -> None:
    """No password has a default, and the example names each that is demanded."""
    text = (DEPLOY / "compose.yaml").read_text()
    demanded = set(DEMANDED.findall(text))
    named = re.findall(r"^#?(\w+)=(.*)$", (DEPLOY / ".env.example").read_text(), re.MULTILINE)
    assert {name for name, value in named if not value} - {"TRADE_ENGINE_IMAGE", "PGBOUNCER_IMAGE"} == demanded
    for service in compose()["services"].values():
        for name, value in service.get("environment", {}).items():
            secret = re.search(r"PASS|SECRET|ENCRYPTION_KEY", name) and not name.endswith("_FILE")
            assert not secret or DEMANDED.fullmatch(str(value)), name
    assert set(re.findall(r"\w+://[^:@\s]*:([^@\s{]*)[{@]", text)) <= {"$"}


def test_the_engine_understands_what_compose_tells_it(tmp_path: Path) -> None:
    told = {}
    for name, value in compose()["services"]["trade-engine"]["environment"].items():
        filled = DEMANDED.sub(lambda found: f"{len(found[1]):064x}", str(value))
        told[name] = GIVEN.sub(lambda found: found[2], filled)
    answer = json.loads(right("trade-engine", "config", "check", "--json", **told))
    assert answer["ok"], answer
    assert answer["notes"] == [], answer
    told["TRADE_ENGINE__REDIS__ADDRESS"] = "redis"
    assert run("trade-engine", "config", "check", "--json", **told).returncode != 0


def test_grafana_finds_its_dashboards_where_compose_puts_them() -> None:
    provider = yaml.safe_load((DEPLOY / "grafana" / "provisioning" / "dashboards" / "trade-engine.yml").read_text())
    place = provider["providers"][0]["options"]["path"]
    assert f"./grafana/dashboards:{place}:ro" in compose()["services"]["grafana"]["volumes"]


def test_prometheus_scrapes_services_that_compose_has() -> None:
    jobs = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    targets = {
        target for job in jobs["scrape_configs"] for given in job["static_configs"] for target in given["targets"]
    }
    targets |= set(jobs["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"])
    assert {target.split(":")[0] for target in targets} <= set(compose()["services"]) | {"localhost"}


# ---- Kubernetes


@cache
def rendered(overlay: str) -> str:
    return right("kubectl", "kustomize", f"deploy/kubernetes/overlays/{overlay}")


@cache
def with_wallet() -> str:
    """Staging with the wallet as a service; rendered outside the tree, which stays as it is."""
    with tempfile.TemporaryDirectory() as made:
        shutil.copytree(DEPLOY / "kubernetes", made, dirs_exist_ok=True)
        staging = Path(made) / "overlays" / "staging"
        with (staging / "kustomization.yaml").open("a") as file:
            file.write("components:\n  - ../../components/wallet\n")
        return right("kubectl", "kustomize", str(staging))


def manifests(text: str) -> list[dict[str, Any]]:
    return [found for found in yaml.safe_load_all(text) if found]


def pods(text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for found in manifests(text):
        if found["kind"] in {"StatefulSet", "Deployment", "Job"}:
            yield found["metadata"]["name"], found["spec"]["template"]["spec"]


@pytest.mark.parametrize("version", KUBERNETES)
def test_kubernetes_manifests_follow_their_schemas(version: str, tmp_path: Path) -> None:
    file = tmp_path / "rendered.yaml"
    file.write_text("\n---\n".join((*map(rendered, OVERLAYS), with_wallet())))
    right("kubernetes-validate", "--strict", "--quiet", "-k", version, str(file))


def test_a_wrong_manifest_would_be_found(tmp_path: Path) -> None:
    file = tmp_path / "budget.yaml"
    budget = (DEPLOY / "kubernetes" / "base" / "disruption-budget.yaml").read_text()
    file.write_text(budget.replace("minAvailable", "minAvailabel"))
    assert run("kubernetes-validate", "--strict", "--quiet", str(file)).returncode != 0


@pytest.mark.parametrize("overlay", [*OVERLAYS, "wallet"])
def test_kubernetes_pods_are_careful(overlay: str) -> None:
    text = with_wallet() if overlay == "wallet" else rendered(overlay)
    for name, pod in pods(text):
        assert pod["enableServiceLinks"] is False, name
        assert pod["automountServiceAccountToken"] is False, name
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        for container in pod["containers"]:
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"], name
            assert not context["allowPrivilegeEscalation"], name
            assert context["capabilities"] == {"drop": ["ALL"]}, name
            assert container["resources"]["limits"]["memory"], name
            assert container["resources"]["requests"]["cpu"], name
            probes = {"startupProbe", "livenessProbe", "readinessProbe"}
            assert name.endswith("-migrate") or probes <= set(container), name
    kinds = [found["kind"] for found in manifests(text)]
    assert "Secret" not in kinds
    assert {"PodDisruptionBudget", "NetworkPolicy", "Service"} <= set(kinds)
    assert len(set(re.findall(r"image: (\S+)", text))) == 1


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_kubernetes_selects_the_engine_and_nothing_else(overlay: str) -> None:
    found = {(item["kind"], item["metadata"]["name"]): item for item in manifests(rendered(overlay))}
    engine = found["StatefulSet", "trade-engine"]
    labels = engine["spec"]["template"]["metadata"]["labels"]
    job = found["Job", "trade-engine-migrate"]["spec"]["template"]["metadata"]["labels"]
    assert engine["spec"]["replicas"] == 2
    assert engine["spec"]["updateStrategy"] == {"type": "OnDelete"}
    for selector in (
        engine["spec"]["selector"]["matchLabels"],
        found["Service", "trade-engine"]["spec"]["selector"],
        found["PodDisruptionBudget", "trade-engine"]["spec"]["selector"]["matchLabels"],
    ):
        assert selector.items() <= labels.items()
        assert not selector.items() <= job.items()
    names = {port["name"] for port in engine["spec"]["template"]["spec"]["containers"][0]["ports"]}
    assert {port["targetPort"] for port in found["Service", "trade-engine"]["spec"]["ports"]} <= names


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_engine_understands_what_kubernetes_tells_it(overlay: str, tmp_path: Path) -> None:
    (options,) = [found["data"] for found in manifests(rendered(overlay)) if found["kind"] == "ConfigMap"]
    secrets = yaml.safe_load((DEPLOY / "kubernetes" / "secrets.example.yaml").read_text())["stringData"]
    for name, value in secrets.items():
        (tmp_path / name).write_text(value.replace("<password>", "x") or "5e" * 32)
    file = tmp_path / "trade-engine.yaml"
    file.write_text(options["trade-engine.yaml"].replace("/run/secrets/trade-engine", str(tmp_path)))
    answer = json.loads(right("trade-engine", "config", "check", "--json", "--config", str(file)))
    assert answer["ok"], answer
    (tmp_path / "encryption_key").write_text("short")
    assert run("trade-engine", "config", "check", "--json", "--config", str(file)).returncode != 0


# ---- systemd


def test_the_unit_is_right(tmp_path: Path) -> None:
    """Its programs are taken from here; who would be its user is not asked."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not on PATH (Debian: systemd)")
    unit = (DEPLOY / "systemd" / "trade-engine.service").read_text()
    file = tmp_path / "trade-engine.service"
    here = unit.replace("/opt/trade-engine/bin/trade-engine", program("trade-engine"))
    file.write_text(here)
    done = run("systemd-analyze", "verify", "--man=no", str(file))
    assert (done.returncode, done.stderr) == (0, "")
    right("systemd-analyze", "security", "--offline=true", "--threshold=20", str(file))
    file.write_text(here.replace("Restart=always", "Restart=sometimes"))
    assert "restart specifier" in run("systemd-analyze", "verify", "--man=no", str(file)).stderr


def test_the_unit_says_what_each_status_means() -> None:
    """Those of the page for operators."""
    page = (ROOT / "docs" / "operator" / "running.md").read_text()
    unit = (DEPLOY / "systemd" / "trade-engine.service").read_text()
    statuses = re.findall(r"^\| (\d+) \| ", page, re.MULTILINE)
    assert {"69", "70", "75"} <= set(statuses)
    assert {status for status in statuses if int(status) > 1} <= set(re.findall(r"\b\d\d\b", unit.split("Restart=")[0]))
