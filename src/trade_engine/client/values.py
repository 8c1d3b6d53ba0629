"""Amounts and times on their way to the server.

An amount is a Decimal, a whole number or a decimal text, never a float: ``0.1`` has lost its last digits before
anybody can look.  What a text says is for the server to judge; here only what cannot be written is refused.
"""

from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Final

#: What goes in where an amount is asked for.
Amount = Decimal | int | str

_EXPONENT_MOST: Final = 30


def write_amount(name: str, value: Amount) -> str:
    """An amount in plain notation, without zeros that say nothing.

    Raises:
        TypeError: it is a float, or something else that is no amount.
        ValueError: it is no finite number, or far beyond what any market takes.
    """
    if isinstance(value, bool) or not isinstance(value, Decimal | int | str):
        kind = type(value).__name__
        raise TypeError(f"{name} must be a Decimal, an int or a decimal text, not {kind}: write Decimal('0.1')")
    try:
        number = Decimal(value)
    except InvalidOperation:
        raise ValueError(f"{name} is no decimal number: {value!r:.50}") from None
    if not number.is_finite() or abs(number.adjusted()) > _EXPONENT_MOST:
        raise ValueError(f"{name} is no amount: {value!r:.50}")
    text = format(number, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def write_time(name: str, value: datetime) -> str:
    """A time in UTC with microseconds.

    Raises:
        TypeError: it is no datetime.
        ValueError: it has no time zone.
    """
    if not isinstance(value, datetime):
        raise TypeError(f"{name} must be a datetime, not {type(value).__name__}")
    if value.tzinfo is None:
        raise ValueError(f"{name} needs a time zone: datetime.now(UTC)")
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
