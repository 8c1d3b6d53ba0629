"""`trade-engine replay --target server`: a recorded flow over HTTP, as many users, strictly in order.

Quantities are rounded to the server's lot; those that become nothing are dropped.  The trades that come back are
compared, one for one, with those a core makes of the same rounded commands.
"""

import gzip
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from trade_engine.cli.http_load import HttpConnection, build_request
from trade_engine.domain.scale import UNIT, format_units, parse_units


class Line(msgspec.Struct, kw_only=True):
    """One line of a commands file."""

    op: str
    id: str
    side: str = ""
    px: str = "0"
    qty: str = "0"


class FlowOrder(msgspec.Struct, frozen=True):
    """One rounded command: a limit order, or a cancel if ``quantity`` is 0 (units of 1e-8)."""

    id: str
    side: str = ""
    price: int = 0
    quantity: int = 0


def read_lines(path: Path) -> Iterator[Line]:
    """The lines of a commands file, in order; gzip or plain."""
    decoder = msgspec.json.Decoder(Line)
    opener: Any = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rb") as lines:
        for line in lines:
            if line.strip():
                yield decoder.decode(line)


def rounded(lines: Iterator[Line], lot: int) -> Iterator[FlowOrder]:
    """Round quantities to the nearest lot (half up); what becomes nothing is dropped, and so are its cancels."""
    dropped: set[str] = set()
    for line in lines:
        if line.op == "cancel":
            if line.id not in dropped:
                yield FlowOrder(line.id)
            continue
        quantity = (parse_units(line.qty) + lot // 2) // lot * lot
        if quantity:
            yield FlowOrder(line.id, line.side.upper(), parse_units(line.px), quantity)
        else:
            dropped.add(line.id)


class _Trade(msgspec.Struct):
    price: str
    quantity: str


class _Order(msgspec.Struct):
    id: str


class _Data(msgspec.Struct):
    order: _Order
    trades: list[_Trade] = msgspec.field(default_factory=list)


class _Placed(msgspec.Struct):
    data: _Data


async def replay_over_http(
    link: HttpConnection,
    orders: Sequence[FlowOrder],
    symbol: str,
    token_of: Callable[[str], str],
    progress: Callable[[int], None],
) -> list[tuple[int, int]]:
    """Send every command and wait for its answer before the next; the trades in order, (price, quantity) units.

    Raises:
        ReplayError: the server refused an order.
        LoadError: the server went away; what was acknowledged until then is in the exception's ``acknowledged``.
    """
    decoder = msgspec.json.Decoder(_Placed)
    numbers: dict[str, str] = {}
    trades: list[tuple[int, int]] = []
    for count, order in enumerate(orders):
        token = token_of(order.id)
        if not order.quantity:
            number = numbers.pop(order.id, None)
            if number is not None:
                status, answer = await link.request(build_request("DELETE", f"/api/v1/orders/{number}", token))
                if status not in (200, 409):
                    raise ReplayError(f"cancel of {order.id}: {status} {answer[:500]!r}")
        else:
            body = msgspec.json.encode(
                {
                    "symbol": symbol,
                    "side": order.side,
                    "type": "LIMIT",
                    "quantity": format_units(order.quantity),
                    "price": format_units(order.price),
                    "self_trade_prevention": "NONE",
                    "client_order_id": order.id,
                }
            )
            status, answer = await link.request(build_request("POST", "/api/v1/orders", token, body))
            if status not in (200, 201):
                raise ReplayError(f"order {order.id}: {status} {answer[:500]!r}")
            placed = decoder.decode(answer).data
            numbers[order.id] = placed.order.id
            trades += [(parse_units(t.price), parse_units(t.quantity)) for t in placed.trades]
        if count % 500 == 0:
            progress(count)
    return trades


class ReplayError(RuntimeError):
    """The server answered something a replay cannot go on from."""


def funds_for(orders: Sequence[FlowOrder], users: int, user_of: Callable[[str], int]) -> list[tuple[int, int]]:
    """What each user needs at most for the whole flow: (base, quote) units, with a tenth to spare for fees."""
    needs = [[0, 0] for _ in range(users)]
    for order in orders:
        if order.quantity:
            user = needs[user_of(order.id)]
            if order.side == "SELL":
                user[0] += order.quantity
            else:
                user[1] += order.price * order.quantity // UNIT
    return [(base * 11 // 10 + UNIT, quote * 11 // 10 + UNIT) for base, quote in needs]
