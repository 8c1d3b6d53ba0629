"""The scenario tables of SPEC 3, each on both books."""

import pytest

from tests.unit.matching.desk import Desk
from tests.unit.matching.table import play, scenarios

SCENARIOS = dict(scenarios())


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenario(desk: Desk, name: str) -> None:
    play(desk, SCENARIOS[name])


def test_every_feature_has_its_table() -> None:
    features = {name.partition(":")[0] for name in SCENARIOS}
    assert features == {
        "amending", "by_amount", "cancelling", "cascades", "expiry", "fill_or_kill", "icebergs", "pairs", "post_only",
        "protections", "self_trades", "states", "stops",
    }  # fmt: skip


def test_a_table_can_fail(desk: Desk) -> None:
    for wrong in ("place 1 SELL LIMIT 5 at 100\n  RESTED 1 4 of 4 at 100", "asks 100: 4 [1]", "cancel 9", "dance 1"):
        with pytest.raises(AssertionError):
            play(desk, wrong)
