"""The alert drill, sixty times faster than deployed; `make alerts` runs it at a slower pace and prints figures."""

from pathlib import Path

import yaml

from tests.alerts.drill import FAULTS, drill
from tests.alerts.faster import faster_rules, sooner
from tests.harness.postgres import TestServer
from tests.unit.deploy.test_monitoring import RULES, rules


async def test_each_fault_is_heard_of(postgres: TestServer, database_url: str, tmp_path: Path) -> None:
    wallet_url = postgres.migrated()
    try:
        heard = await drill(database_url, wallet_url, tmp_path, times=60)
    finally:
        postgres.drop(wallet_url)
    assert [(found.fault, found.alert) for found in heard] == [(fault, each) for fault, some in FAULTS for each in some]
    severity = {rule["alert"]: rule["labels"]["severity"] for rule in rules()}
    for found in heard:
        if found.alert == "RelayLag":
            # That RabbitMQ is away explains it.
            assert (found.state, found.told) == ("suppressed", "")
        else:
            assert found.told == {"page": "pager", "ticket": "tickets"}[severity[found.alert.split()[0]]], found


def test_only_lengths_of_time_are_changed() -> None:
    made, given = faster_rules(RULES.read_text(), 15), yaml.safe_load(RULES.read_text())
    pairs = zip(made["groups"], given["groups"], strict=True)
    for new, old in ((new, old) for one, other in pairs for new, old in zip(one["rules"], other["rules"], strict=True)):
        assert new["labels"] == old["labels"]
        assert new["alert"] == old["alert"]
    expressions = {rule["alert"]: (rule["for"], rule["expr"]) for group in made["groups"] for rule in group["rules"]}
    assert expressions["RelayLag"] == ("8000ms", "max(relay_lag_seconds) > 2.0")
    assert expressions["HighErrorRate"] == ("8000ms", 'sum(rate(http_requests_total{status=~"5.."}[8000ms])) > 0.05')
    assert sooner("1h", 30) == "120000ms"
