"""Check every file in ``deploy/`` with its own program, and print a line for each."""

import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
DEPLOY: Final = ROOT / "deploy"

#: What is checked, and the command that does.
CHECKS: Final = (
    ("Prometheus: configuration", ("promtool", "check", "config", str(DEPLOY / "prometheus" / "prometheus.yml"))),
    *(
        (f"Prometheus: {file.name}", ("promtool", "check", "rules", str(file)))
        for file in sorted((DEPLOY / "prometheus" / "rules").glob("*.yml"))
    ),
    *(
        (f"Prometheus: {file.name}", ("promtool", "test", "rules", str(file)))
        for file in sorted((DEPLOY / "prometheus" / "tests").glob("*.yml"))
    ),
    (
        "Alertmanager: configuration",
        ("amtool", "check-config", str(DEPLOY / "alertmanager" / "alertmanager.yml")),
    ),
    *(
        (
            title,
            (sys.executable, "-m", "pytest", "-q", "-W", "error", "tests/unit/deploy/test_monitoring.py", "-k", tests),
        )
        for title, tests in (
            ("Alerts: an entry in the runbook, a time, a severity, a test", "says_how_long or fires_when or silenced"),
            ("Alertmanager: routes", "reach_whom"),
            ("PromQL of rules and dashboards: parses", "parses"),
            ("PromQL of rules and dashboards: names metrics that exist", "metrics_that_exist"),
            ("Grafana: dashboards and provisioning", "dashboards_are"),
        )
    ),
    (
        "A real Prometheus: panels answer, an alert fires",
        (sys.executable, "-m", "pytest", "-q", "tests/e2e/test_prometheus.py"),
    ),
    *(
        (
            title,
            (sys.executable, "-m", "pytest", "-q", "-W", "error", "tests/unit/deploy/test_containers.py", "-k", tests),
        )
        for title, tests in (
            ("Dockerfile: hadolint, and what it copies", "hadolint or build_context"),
            ("Compose: schema, ports, passwords, health, options", "compose or grafana_finds or prometheus_scrapes"),
            ("Kubernetes: two overlays and the wallet, by their schemas", "kubernetes or wrong_manifest"),
            ("systemd: the unit", "unit"),
        )
    ),
    (
        "GitHub Actions: schema, actionlint, what they name",
        (sys.executable, "-m", "pytest", "-q", "-W", "error", "tests/unit/deploy/test_pipeline.py"),
    ),
    (
        "Options: example file",
        (sys.executable, "-m", "pytest", "-q", "tests/unit/test_config_sources.py", "-k", "example"),
    ),
)


def main() -> int:
    """Run them all; how many failed."""
    failed = 0
    for title, command in CHECKS:
        try:
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
            said, ok = done.stdout + done.stderr, done.returncode == 0
        except FileNotFoundError:
            said, ok = f"{command[0]} is not on PATH (Debian: prometheus, prometheus-alertmanager)\n", False
        # A test that was skipped has checked nothing.
        ok = ok and " skipped" not in said
        failed += not ok
        sys.stdout.write(f"{'ok    ' if ok else 'FAILED'}  {title}\n")
        if not ok:
            sys.stdout.write("".join(f"        {line}\n" for line in said.splitlines()[-20:]))
    return failed


if __name__ == "__main__":
    sys.exit(1 if main() else 0)
