"""Codes and statuses."""

import re
from pathlib import Path

from trade_engine.domain.enums import Reason
from trade_engine.domain.errors import EngineError, InvalidRequest, NotFound, OutcomeUnknown, Refused, Unavailable
from trade_engine.edge.problems import CODES, Forbidden, RateLimited, status_of


def test_every_code_is_upper_snake_case_and_explained() -> None:
    for code, meaning in CODES.items():
        assert re.fullmatch(r"[A-Z]+(_[A-Z]+)*", code), code
        assert 400 <= meaning.status < 600, code
        assert meaning.text, code


def test_a_known_code_has_its_status_whatever_raises_it() -> None:
    assert status_of(Refused("INSUFFICIENT_BALANCE", "")) == 400
    assert status_of(Refused("ORDER_NOT_CANCELLABLE", "")) == 409
    assert status_of(Refused("MIN_NOTIONAL", "")) == 422
    assert status_of(RateLimited(0.5)) == 429


def test_an_unknown_code_has_its_kinds_status() -> None:
    kinds = {InvalidRequest: 400, NotFound: 404, Refused: 409, Unavailable: 503, OutcomeUnknown: 503, Forbidden: 403}
    for kind, status in kinds.items():
        assert status_of(kind("NEW_CODE", "")) == status
    assert status_of(EngineError("NEW_CODE", "")) == 500


def test_every_refusal_of_the_core_that_a_trader_can_cause_is_listed() -> None:
    internal = {Reason.NONE, Reason.UNKNOWN_ORDER, Reason.OUT_OF_MEMORY}
    missing = {reason.name for reason in Reason if reason < 100 and reason not in internal} - CODES.keys()
    assert not missing


def test_the_traders_guide_lists_every_code_as_it_is() -> None:
    guide = (Path(__file__).parents[3] / "docs" / "trader" / "rest.md").read_text()
    listed = [line for line in guide.splitlines() if re.match(r"\| \d{3} \|", line)]
    assert listed == [f"| {meaning.status} | `{code}` | {meaning.text} |" for code, meaning in CODES.items()]
