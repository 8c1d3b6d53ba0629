"""Decimal texts and units of 1e-8: exact both ways, everything else refused."""

import pytest

from trade_engine.domain.scale import (
    MAX_UNITS,
    UNIT,
    ScaleError,
    ceil_div,
    decimals_of,
    format_price,
    format_units,
    parse_units,
)


@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("0", 0),
        ("1", UNIT),
        ("1.5", 150_000_000),
        ("0.00000001", 1),
        ("90000000000", MAX_UNITS),
        ("50000.00", 50_000 * UNIT),
    ],
)
def test_a_plain_decimal_is_read_exactly(text: str, units: int) -> None:
    assert parse_units(text) == units


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-1",
        "+1",
        "1e3",
        "1E3",
        ".5",
        "5.",
        "01",
        "1.000000001",
        " 1",
        "1 ",
        "1,5",
        "NaN",
        "inf",
        "0x1",
        "١",
        "9" * 41,
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ScaleError):
        parse_units(text)


@pytest.mark.parametrize(
    ("units", "text"),
    [(0, "0"), (150_000_000, "1.5"), (1, "0.00000001"), (-2 * UNIT, "-2"), (-1, "-0.00000001"), (10 * UNIT, "10")],
)
def test_units_are_written_without_trailing_zeros(units: int, text: str) -> None:
    assert format_units(units) == text


@pytest.mark.parametrize(
    ("units", "decimals", "text"), [(50_000 * UNIT, 2, "50000.00"), (UNIT // 2, 8, "0.50000000"), (3 * UNIT, 0, "3")]
)
def test_a_price_has_its_ticks_decimals(units: int, decimals: int, text: str) -> None:
    assert format_price(units, decimals) == text


@pytest.mark.parametrize(("step", "decimals"), [(UNIT // 100, 2), (1, 8), (UNIT, 0), (10 * UNIT, 0), (UNIT // 2, 1)])
def test_decimals_of_a_step(step: int, decimals: int) -> None:
    assert decimals_of(step) == decimals


def test_rounding_is_up() -> None:
    assert [ceil_div(n, 4) for n in (0, 1, 4, 5)] == [0, 1, 1, 2]
