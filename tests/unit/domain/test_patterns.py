"""A pattern of a whole text ends where the text ends."""

import re
from pathlib import Path

import pytest

import trade_engine
from trade_engine.domain.patterns import whole


@pytest.mark.parametrize("text", ["USDT\n", "\nUSDT", "USDT\r", "USDT\0", "USDT\u2028", "USDT x", ""])
def test_nothing_may_follow_or_precede(text: str) -> None:
    assert re.search(whole("[A-Z]{1,15}"), "USDT")
    assert not re.search(whole("[A-Z]{1,15}"), text)


def test_no_checking_pattern_ends_with_a_dollar_or_matches_a_beginning_only() -> None:
    """``shapes`` only describes; everything else that takes a pattern checks by it."""
    folder = Path(trade_engine.__file__).parent
    wrong = re.compile(r'pattern=[rf]*"[^"]*\$"|\bre\.match\(|re\.compile\([rbf]*"[^"]*\$"')
    found = [
        f"{path.relative_to(folder)}: {hit[0]}"
        for path in folder.rglob("*.py")
        for hit in wrong.finditer(path.read_text(encoding="utf-8"))
    ]
    assert not found, found
