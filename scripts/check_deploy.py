"""Check every file in ``deploy/`` with its own program, and print a line for each.

The checks are tests, which ``make test`` runs as well; each line sums up those of one file or program.
"""

import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections import defaultdict
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
TIMEOUT_S: Final = 900

#: Each line, and the tests that it stands for: a file's name, and what a test's name has in it; the first that fits.
LINES: Final = (
    ("Prometheus: configuration and rules, by promtool", "test_monitoring", "rules_and_the_configuration"),
    ("Prometheus: each alert fires and is quiet, by promtool", "test_monitoring", "fires_when_it_must"),
    ("Alertmanager: configuration and routes, by amtool", "test_monitoring", "reach_whom|silenced"),
    ("Alerts: an entry in the runbook, a time, a severity", "test_monitoring", "says_how_long"),
    ("PromQL of rules and dashboards: parses", "test_monitoring", "parses"),
    ("PromQL of rules and dashboards: names metrics that exist", "test_monitoring", "metrics_that_exist"),
    ("Grafana: dashboards and provisioning", "test_monitoring", "dashboards_are"),
    ("A real Prometheus: panels answer, an alert fires", "test_prometheus", ""),
    ("Dockerfile: hadolint, and what it copies", "test_containers", "hadolint|build_context"),
    (
        "Compose: schema, ports, passwords, health, options",
        "test_containers",
        "compose|grafana_finds|prometheus_scrapes",
    ),
    ("Kubernetes: overlays and the wallet, by their schemas", "test_containers", "kubernetes|wrong_manifest"),
    ("systemd: the unit, by systemd-analyze", "test_containers", "unit"),
    ("Started with the very file: PostgreSQL", "test_deployed", "postgres_takes"),
    ("Started with the very file: PgBouncer", "test_deployed", "pgbouncer_takes"),
    ("Started with the very file: Redis", "test_deployed", "redis_takes"),
    ("Started with the very file: Sentinel", "test_deployed", "sentinel"),
    ("Started with the very file: RabbitMQ", "test_deployed", "rabbitmq_takes"),
    ("Started with the very file: Prometheus", "test_deployed", "prometheus_takes"),
    ("Started with the very file: Alertmanager", "test_deployed", "alertmanager_takes"),
    ("An engine as Compose configures it trades on all of them", "test_deployed", "engine_trades"),
    ("GitHub Actions: schema, actionlint, what they name", "test_pipeline", ""),
    ("Options: the example file", "test_config_sources", "example"),
)
FILES: Final = (
    "tests/unit/deploy/test_monitoring.py",
    "tests/unit/deploy/test_containers.py",
    "tests/unit/deploy/test_pipeline.py",
    "tests/unit/test_config_sources.py",
    "tests/e2e/test_prometheus.py",
    "tests/e2e/test_deployed.py",
)


def title_of(file: str, test: str) -> str | None:
    """The line that a test belongs to."""
    return next((title for title, place, part in LINES if place == file and re.search(part, test)), None)


def results(report: Path) -> dict[str, list[tuple[str, str]]]:
    """Of each line the tests that ran, each with what is wrong with it, or nothing."""
    found: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for case in ET.parse(report).getroot().iter("testcase"):
        title = title_of(case.get("classname", "").rpartition(".")[2], case.get("name", ""))
        # A test that was skipped has checked nothing.
        wrong = next((part for part in case if part.tag in ("failure", "error", "skipped")), None)
        if title is not None:
            said = "" if wrong is None else f"{wrong.get('message', '')}\n{wrong.text or ''}"
            found[title].append((case.get("name", ""), said.strip()))
    return found


def main() -> int:
    """Run them all; how many lines are not well."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", *FILES]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
        if not report.exists():
            sys.stderr.write(done.stdout + done.stderr)
            return 1
        found = results(report)
    failed = 0
    for title, _, _ in LINES:
        tests = found.get(title, [("", "no test of it ran")])
        wrong = [(name, said) for name, said in tests if said]
        failed += bool(wrong)
        sys.stdout.write(f"{'FAILED' if wrong else 'ok    '}  {title}\n")
        for name, said in wrong:
            sys.stdout.write("".join(f"        {line}\n" for line in [name, *said.splitlines()[:20]]))
    return failed


if __name__ == "__main__":
    sys.exit(1 if main() else 0)
