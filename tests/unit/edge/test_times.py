"""Times at the boundary."""

import pytest

from trade_engine.domain.errors import InvalidRequest
from trade_engine.edge.times import read_time, show_time, show_time_or_none

NEW_YEAR_US = 1_767_225_600_000_000


@pytest.mark.parametrize(
    ("text", "time_us"),
    [
        ("2026-01-01T00:00:00Z", NEW_YEAR_US),
        ("2026-01-01T01:00:00+01:00", NEW_YEAR_US),
        ("2026-01-01T00:00:00.123456Z", NEW_YEAR_US + 123_456),
        ("1767225600001", NEW_YEAR_US + 1_000),
    ],
)
def test_a_time_is_read_exactly(text: str, time_us: int) -> None:
    assert read_time(text, "start_time") == time_us
    assert read_time(show_time(time_us), "start_time") == time_us


@pytest.mark.parametrize(
    "text", ["", "now", "2026-01-01", "2026-01-01T00:00:00", "-1", "0", "9" * 40, "1e9", "1969-01-01T00:00:00Z", "٣"]
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        read_time(text, "start_time")
    assert refused.value.code == "INVALID_PARAMETER"
    assert refused.value.details["field"] == "start_time"


def test_no_time_is_none() -> None:
    assert show_time_or_none(0) is None
    assert show_time_or_none(NEW_YEAR_US + 5) == "2026-01-01T00:00:00.000005Z"
