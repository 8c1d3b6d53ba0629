"""Amounts and times as they are sent, and what is refused before anything is."""

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

from trade_engine.client.values import write_amount, write_time


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Decimal("1.50"), "1.5"),
        (Decimal("1E+3"), "1000"),
        (Decimal("1E-8"), "0.00000001"),
        (Decimal("0.123456789"), "0.123456789"),
        (100, "100"),
        ("50000.00", "50000"),
        ("-1", "-1"),
        (0, "0"),
        (Decimal("0.00"), "0"),
    ],
)
def test_amounts(value: Any, text: str) -> None:
    assert write_amount("price", value) == text


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (0.1, TypeError),
        (True, TypeError),
        (None, TypeError),
        (b"1", TypeError),
        ("one", ValueError),
        ("", ValueError),
        ("NaN", ValueError),
        (Decimal("Infinity"), ValueError),
        (Decimal("1E+999999"), ValueError),
        ("1e-999999", ValueError),
    ],
)
def test_what_is_no_amount(value: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="price"):
        write_amount("price", value)


def test_times() -> None:
    east = timezone(timedelta(hours=2))
    assert write_time("start_time", datetime(2026, 1, 2, 3, 4, 5, 6, east)) == "2026-01-02T01:04:05.000006Z"
    assert write_time("start_time", datetime(2026, 1, 2, tzinfo=UTC)) == "2026-01-02T00:00:00.000000Z"
    with pytest.raises(ValueError, match="start_time needs a time zone"):
        write_time("start_time", datetime(2026, 1, 2))  # noqa: DTZ001
    with pytest.raises(TypeError, match="start_time"):
        write_time("start_time", "2026-01-01")  # type: ignore[arg-type]
