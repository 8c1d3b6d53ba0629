"""The deployed rules, scrapes and routes, made faster: every duration divided, all else as it is in the files."""

import re
import shutil
from pathlib import Path
from typing import Any, Final

import yaml

from tests.harness.installation import DEPLOY

_LENGTH: Final = re.compile(r"(\d+)(ms|s|m|h)")
_MS: Final = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000}
#: A threshold that is a number of seconds, of a metric that says how old something is.
_AGE: Final = re.compile(r"((?:lag|waiting)_seconds\) > )(\d+)")


def sooner(length: str, times: int) -> str:
    """A duration of Prometheus, divided."""
    return "".join(f"{int(number) * _MS[unit] // times}ms" for number, unit in _LENGTH.findall(length))


def faster_rules(text: str, times: int) -> dict[str, Any]:
    """A file of rules: ``for``, ranges, and how old something may be."""
    rules: dict[str, Any] = yaml.safe_load(text)
    for rule in (rule for group in rules["groups"] for rule in group["rules"]):
        rule["for"] = sooner(rule["for"], times)
        ranges = re.sub(r"\[([^]]+)\]", lambda found: f"[{sooner(found[1], times)}]", rule["expr"])
        rule["expr"] = _AGE.sub(lambda found: f"{found[1]}{int(found[2]) / times}", ranges)
    return rules


def faster_prometheus(folder: Path, times: int, targets: dict[str, int], alertmanager: int) -> None:
    """The files of Prometheus in a new folder: jobs of ``targets`` ask these ports of loopback, others are left out."""
    shutil.copytree(DEPLOY / "prometheus", folder)
    for file in (folder / "rules").glob("*.yml"):
        file.write_text(yaml.safe_dump(faster_rules(file.read_text(), times)))
    told = yaml.safe_load((folder / "prometheus.yml").read_text())
    for name in ("scrape_interval", "evaluation_interval"):
        told["global"][name] = sooner(told["global"][name], times)
    told["global"]["scrape_timeout"] = told["global"]["scrape_interval"]
    told["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"] = [f"127.0.0.1:{alertmanager}"]
    told["scrape_configs"] = [
        job | {"static_configs": [{"targets": [f"127.0.0.1:{targets[job['job_name']]}"]}]}
        for job in told["scrape_configs"]
        if job["job_name"] in targets
    ]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(told))


def faster_alertmanager(times: int, receiver: int) -> str:
    """The file of Alertmanager: it waits less for a group, and tells a receiver of loopback."""
    told = yaml.safe_load((DEPLOY / "alertmanager" / "alertmanager.yml").read_text())
    for name in ("group_wait", "group_interval"):
        told["route"][name] = sooner(told["route"][name], times)
    for hook in (hook for each in told["receivers"] for hook in each["webhook_configs"]):
        hook["url"] = hook["url"].replace("127.0.0.1:9095", f"127.0.0.1:{receiver}")
    return str(yaml.safe_dump(told))
