"""Money and quantities: integers of 1e-8 inside, decimal strings outside.

The only module that converts between the two, and the only one that rounds.  No float ever passes here.
"""

import re
from typing import Final

DECIMALS: Final = 8
UNIT: Final = 10**DECIMALS
#: The largest price, quantity or notional, in units of 1e-8 (90,000,000,000); it fits a signed 64-bit integer.
MAX_UNITS: Final = 90_000_000_000 * UNIT

_PLAIN = re.compile(r"(?:0|[1-9][0-9]{0,29})(?:\.[0-9]{1,8})?")


class ScaleError(ValueError):
    """A text is not a plain decimal, or lies outside the range of the field."""


def parse_units(text: str) -> int:
    """Read a plain, unsigned decimal with at most 8 decimals as units of 1e-8.

    Exponents, signs, blanks, leading zeros and a ninth decimal are refused, never rounded.

    Raises:
        ScaleError: the text is not such a number.
    """
    if len(text) > 40 or _PLAIN.fullmatch(text) is None:
        raise ScaleError("must be a plain decimal number with at most 8 decimals, such as 1.5")
    whole, _, fraction = text.partition(".")
    return int(whole) * UNIT + int(fraction.ljust(DECIMALS, "0")) if fraction else int(whole) * UNIT


def format_units(units: int) -> str:
    """Write units of 1e-8 in plain notation without trailing zeros: ``"1.5"``, ``"0"``, ``"-2"``."""
    sign = "-" if units < 0 else ""
    whole, fraction = divmod(abs(units), UNIT)
    if not fraction:
        return f"{sign}{whole}"
    return f"{sign}{whole}.{str(fraction).zfill(DECIMALS).rstrip('0')}"


def format_price(units: int, decimals: int) -> str:
    """Write a price (units of 1e-8) with exactly ``decimals`` decimals: ``"50000.00"``."""
    whole, fraction = divmod(units, UNIT)
    if not decimals:
        return str(whole)
    return f"{whole}.{str(fraction).zfill(DECIMALS)[:decimals]}"


def decimals_of(step: int) -> int:
    """How many decimals a step (tick or lot, units of 1e-8) needs: 0.01 needs 2."""
    decimals = DECIMALS
    while decimals and step % 10 == 0:
        step //= 10
        decimals -= 1
    return decimals


def ceil_div(numerator: int, denominator: int) -> int:
    """Divide and round up: how fees are rounded, in the exchange's favour (SPEC 2)."""
    return -(-numerator // denominator)
