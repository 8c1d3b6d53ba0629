"""Numbers as clients of Binance read them: amounts with 8 decimals, times in milliseconds."""

import re
from typing import Final

from trade_engine.domain.scale import DECIMALS, MAX_UNITS, UNIT, parse_units
from trade_engine.edge.binance.refusals import Numbered, illegal

_DECIMAL: Final = re.compile(r"([0-9]{1,20})(?:\.([0-9]{1,20}))?")
_LEGAL: Final = r"^([0-9]{1,20})(\.[0-9]{1,20})?$"
#: Times of 16 digits and more are microseconds: in milliseconds they would lie 300 centuries ahead.
_MICROSECONDS: Final = 10**15


def fixed(units: int) -> str:
    """Units of 1e-8 with all 8 decimals: ``"0.00100000"``."""
    whole, fraction = divmod(abs(units), UNIT)
    return f"{'-' if units < 0 else ''}{whole}.{fraction:08d}"


def read_amount(name: str, text: str) -> int:
    """A decimal as units of 1e-8.

    Raises:
        Numbered: -1100, it is no plain decimal; -1111, it has more than 8 decimals; -1108, it is too large.
    """
    found = _DECIMAL.fullmatch(text) if text.isascii() else None
    if found is None:
        raise illegal(name, _LEGAL)
    fraction = (found[2] or "").rstrip("0")
    if len(fraction) > DECIMALS:
        raise Numbered(-1111, f"Parameter '{name}' has too much precision.")
    units = parse_units(f"{int(found[1])}.{fraction or '0'}")
    if units > MAX_UNITS:
        raise Numbered(-1108, f"Parameter '{name}' overflowed.")
    return units


def ms(time_us: int) -> int:
    """Milliseconds of microseconds."""
    return time_us // 1000


def us_of(number: int) -> int:
    """Microseconds of a time that a client gave in milliseconds, or in microseconds."""
    return number if number >= _MICROSECONDS else number * 1000
