"""Events of the API's own streams as stories see them, for clients that hand them out as they are."""

from decimal import Decimal
from typing import Any

from adapters.shared import levels

#: The stream of each kind, without the market.
STREAMS = {
    "trades": "trade", "aggregates": "aggTrade", "best": "bookTicker", "levels": "depth5@100ms", "day": "ticker",
    "mini_day": "miniTicker", "candles": "kline_1m",
}  # fmt: skip


def _numbers(event: dict[str, Any], *names: str) -> tuple[Decimal, ...]:
    return tuple(Decimal(event[name]) for name in names)


def shown(kind: str, event: dict[str, Any]) -> Any:
    """An event in the stories' words."""
    if kind in ("trades", "aggregates"):
        return _numbers(event, "p", "q")
    if kind == "best":
        return _numbers(event, "b", "a")
    if kind == "levels":
        return levels(event["bids"]), levels(event["asks"])
    if kind in ("day", "mini_day"):
        return _numbers(event, "c", "o", "h", "l", "v")
    return _numbers(event["k"], "o", "h", "l", "c", "v")


def execution(event: dict[str, Any]) -> Any:
    """An execution: which order, what happened, where the order is, and what it has filled."""
    return str(event["i"]), event["x"], event["X"], Decimal(event["z"])


def balances(event: dict[str, Any]) -> dict[str, tuple[Decimal, Decimal]]:
    """Free and reserved of the assets that an event tells of."""
    return {row["a"]: (Decimal(row["f"]), Decimal(row["l"])) for row in event["B"]}


def list_status(event: dict[str, Any]) -> tuple[str, str, int]:
    """An order list: its number, where it is, and how many orders it has."""
    return str(event["g"]), event["L"], len(event["O"])


class Stitched:
    """A book kept from a snapshot and diffs, as the documentation says."""

    def __init__(self, snapshot: dict[str, Any]) -> None:
        self._last = snapshot["lastUpdateId"]
        self._sides = {side: dict(levels(snapshot[side])) for side in ("bids", "asks")}

    def take(self, event: dict[str, Any]) -> None:
        """Take a diff in; AssertionError if one before it is missing."""
        if event["u"] <= self._last:
            return
        assert event["U"] <= self._last + 1, f"diffs between {self._last} and {event['U']} are missing"
        for side, rows in (("bids", event["b"]), ("asks", event["a"])):
            for price, quantity in levels(rows):
                self._sides[side][price] = quantity
                if not quantity:
                    del self._sides[side][price]
        self._last = event["u"]

    def book(self) -> tuple[Any, Any]:
        """Both sides, best first."""
        return (
            sorted(self._sides["bids"].items(), reverse=True),
            sorted(self._sides["asks"].items()),
        )
