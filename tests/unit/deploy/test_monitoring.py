"""Alert rules, routes and dashboards: each right by its own program, and about metrics that exist."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from scripts.make_dashboards import DASHBOARDS, text_of

from tests.e2e.test_metrics import documented
from tests.harness.tools import tool

ROOT: Final = Path(__file__).parents[3]
DEPLOY: Final = ROOT / "deploy"
RULES: Final = DEPLOY / "prometheus" / "rules" / "trade-engine.yml"
TESTS: Final = DEPLOY / "prometheus" / "tests" / "trade-engine.test.yml"
RUNBOOK: Final = ROOT / "docs" / "operator" / "runbook.md"
ALERTMANAGER: Final = DEPLOY / "alertmanager" / "alertmanager.yml"

#: Of Prometheus itself.
BUILT_IN: Final = {"up", "ALERTS"}
#: Of RabbitMQ's own exporter.
OF_RABBITMQ: Final = {"rabbitmq_global_messages_dead_lettered_maxlen_total"}
#: Words of PromQL, and labels, which are no metrics.
WORDS: Final = {
    "sum", "max", "min", "by", "le", "rate", "increase", "deriv", "count", "or", "and", "histogram_quantile",
    "avg_over_time", "min_over_time", "max_over_time",
}  # fmt: skip


def run(*words: str) -> str:
    done = subprocess.run([tool(words[0]), *words[1:]], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def expressions() -> Iterator[tuple[str, str]]:
    """Every PromQL expression and where it is."""
    for rule in rules():
        yield rule["alert"], rule["expr"]
    for file in sorted((DEPLOY / "grafana" / "dashboards").glob("*.json")):
        for panel in json.loads(file.read_text())["panels"]:
            for target in panel["targets"]:
                yield f"{file.stem}: {panel['title']}", target["expr"]


def metrics_of(expression: str) -> set[str]:
    """The metrics that an expression names."""
    bare = re.sub(r"\{[^}]*\}|\[[^]]*\]|\"[^\"]*\"", " ", expression)
    bare = re.sub(r"\bby\s*\([^)]*\)", " ", bare)
    return set(re.findall(r"[a-zA-Z_:][a-zA-Z0-9_:]*", bare)) - WORDS


def known() -> set[str]:
    """What an engine exports, by the page that a test holds against a running one."""
    names = BUILT_IN | OF_RABBITMQ
    for name, (kind, _) in (documented(of_wallet_service=False) | documented(of_wallet_service=True)).items():
        names |= {name} if kind != "histogram" else {f"{name}_bucket", f"{name}_sum", f"{name}_count"}
    return names


@pytest.mark.parametrize(("place", "expression"), list(expressions()))
def test_expressions_name_metrics_that_exist(place: str, expression: str) -> None:
    named = metrics_of(expression)
    assert named, place
    assert named <= known(), f"{place}: {named - known()}"


def test_every_expression_parses(tmp_path: Path) -> None:
    every = [expression.replace("$__rate_interval", "1m") for _, expression in expressions()]
    file = tmp_path / "every.yml"
    groups = [{"name": "every", "rules": [{"record": f"e:{n}", "expr": each} for n, each in enumerate(every)]}]
    file.write_text(yaml.safe_dump({"groups": groups}))
    assert f"{len(every)} rules found" in run("promtool", "check", "rules", str(file))


def test_the_rules_and_the_configuration_are_right() -> None:
    assert f"{len(rules())} rules found" in run("promtool", "check", "rules", str(RULES))
    run("promtool", "check", "config", str(DEPLOY / "prometheus" / "prometheus.yml"))


def test_each_alert_fires_when_it_must_and_is_quiet_else() -> None:
    assert "SUCCESS" in run("promtool", "test", "rules", str(TESTS))
    cases = yaml.safe_load(TESTS.read_text())["tests"]
    names = {rule["alert"] for rule in rules()}
    for kind in ("fires", "is quiet"):
        assert {case["name"].removesuffix(f" {kind}") for case in cases if case["name"].endswith(kind)} == names


def test_each_alert_says_how_long_how_bad_and_what_to_do() -> None:
    headings = set(re.findall(r"^## (\w+)$", RUNBOOK.read_text(), re.MULTILINE))
    for rule in rules():
        assert rule["for"], rule["alert"]
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["runbook_url"] == f"docs/operator/runbook.md#{rule['alert'].lower()}"
    assert headings == {rule["alert"] for rule in rules()}


def test_alerts_reach_whom_they_are_for() -> None:
    run("amtool", "check-config", str(ALERTMANAGER))
    for rule in rules():
        severity = rule["labels"]["severity"]
        labels = [f"alertname={rule['alert']}", f"severity={severity}"]
        receiver = {"page": "pager", "ticket": "tickets"}[severity]
        command = ["amtool", "config", "routes", "test", "--config.file", str(ALERTMANAGER)]
        run(*command, f"--verify.receivers={receiver}", *labels)


def test_what_is_silenced_exists() -> None:
    text = ALERTMANAGER.read_text()
    named = {name for names in re.findall(r'alertname =~? "([\w|]+)"', text) for name in names.split("|")}
    assert named <= {rule["alert"] for rule in rules()}


@pytest.mark.parametrize("name", DASHBOARDS)
def test_dashboards_are_as_they_are_made(name: str) -> None:
    file = DEPLOY / "grafana" / "dashboards" / f"trade-engine-{name}.json"
    assert file.read_text() == text_of(name), "make them anew: python scripts/make_dashboards.py"


def test_dashboards_are_provisioned_from_where_the_files_are() -> None:
    files = {file.stem.removeprefix("trade-engine-") for file in (DEPLOY / "grafana" / "dashboards").glob("*.json")}
    assert files == DASHBOARDS.keys()
    uids = [json.loads(text_of(name))["uid"] for name in DASHBOARDS]
    assert len(set(uids)) == len(uids)
    source = yaml.safe_load((DEPLOY / "grafana" / "provisioning" / "datasources" / "prometheus.yml").read_text())
    assert source["datasources"][0]["uid"] == json.loads(text_of("overview"))["panels"][0]["datasource"]["uid"]
