"""The parameters that routes take in path and query: one description each, which the routes share.

A route's handler is only ever given the parameters that its row in the table names.
"""

from typing import Any, Final, NamedTuple

from trade_engine.domain.enums import OrderStatus, Side
from trade_engine.edge.shapes import ENDPOINT, KEY, MOMENT, ORDER_NAME, REASON, SYMBOL, UUID, text, words
from trade_engine.marketdata.intervals import INTERVALS


class Parameter(NamedTuple):
    """One parameter; ``schema`` is its JSON schema."""

    name: str
    schema: dict[str, Any]
    description: str
    required: bool = False


def whole(least: int, most: int, default: int | None = None) -> dict[str, Any]:
    """The JSON schema of a whole number."""
    schema: dict[str, Any] = {"type": "integer", "minimum": least, "maximum": most}
    return schema if default is None else schema | {"default": default}


def limit(most: int, default: int) -> Parameter:
    """How many rows a page has."""
    return Parameter("limit", whole(1, most, default), "How many rows at most.")


_STATUSES: Final = "|".join(status.name for status in OrderStatus)

IN_MARKET: Final = Parameter("symbol", SYMBOL, "Only of this market.")
IN_STATUS: Final = Parameter(
    "status",
    text(f"(open|({_STATUSES})(,({_STATUSES})){{0,6}})", "open"),
    "One or several with commas; `open`: all that live.",
)
ON_SIDE: Final = Parameter("side", words(Side), "Only of this side.")
OF_USER: Final = Parameter("user_id", UUID, "Only of this user.")
KEYS_OF: Final = Parameter("user_id", UUID, "Whose keys.", required=True)
START: Final = Parameter("start_time", MOMENT, "From here on; included.")
END: Final = Parameter("end_time", MOMENT, "Up to here; not included.")
CURSOR: Final = Parameter("cursor", UUID, "`meta.next_cursor` of the page before.")
TIME_CURSOR: Final = Parameter("cursor", MOMENT, "`meta.next_cursor` of the page before.")
NUMBER_CURSOR: Final = Parameter("cursor", text("[0-9]{1,18}", "120"), "`meta.next_cursor` of the page before.")
ENTRY_CURSOR: Final = Parameter("cursor", text("[0-9]{1,19}", "120"), "`meta.next_cursor` of the page before.")
TRADES_OF: Final = Parameter("scope", words(("own", "market")), "Your own trades, or a market's.")
DEPTH: Final = Parameter("depth", whole(1, 1_000, 50), "How many levels a side.")
INTERVAL: Final = Parameter("interval", words(INTERVALS, default="1m"), "How long a candle is.")
AFTER: Final = Parameter("after", whole(1, 2**62 - 1), "The id that the page before ended with.")
WHY: Final = Parameter("reason", REASON, "Why; it is audited.", required=True)

CONFIRM: Final = Parameter(
    "confirm", words(("ALL",)), "Needed where neither user_id nor symbol is given: every order of the venue ends."
)

#: What stands in a path, by its name there.
IN_PATH: Final = {
    "symbol": Parameter("symbol", SYMBOL, "The market: `BTC-USDT`, `BTCUSDT`, or `BTC/USDT`.", required=True),
    "order_id": Parameter(
        "order_id", ORDER_NAME, "The order: its id, or, of your own, `client:` and its client_order_id.", required=True
    ),
    "key_id": Parameter("key_id", KEY, "The API key.", required=True),
    "user_id": Parameter("user_id", UUID, "The user.", required=True),
    "endpoint_id": Parameter("endpoint_id", ENDPOINT, "The webhook endpoint.", required=True),
    "id": Parameter("id", whole(1, 2**62 - 1), "The dead letter.", required=True),
}
