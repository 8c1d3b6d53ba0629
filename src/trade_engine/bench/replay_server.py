"""`trade-engine replay --target server`: a recorded flow over HTTP, as many users, strictly in order.

Quantities are rounded to the server's lot; those that become nothing are dropped.  The trades that come back are
compared, one for one, with those a core makes of the same rounded commands.
"""

import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from trade_engine.bench.errors import BenchError
from trade_engine.bench.http_load import HttpConnection, LoadError, build_request, connect
from trade_engine.bench.recorded import FlowOrder, funds_for, read_lines, rounded
from trade_engine.bench.replay_core import match_rounded
from trade_engine.bootstrap.attached import attached_url, attached_wallet
from trade_engine.bootstrap.keys import jwt_secret
from trade_engine.config import Config
from trade_engine.domain.market import Market
from trade_engine.domain.scale import format_units, parse_units
from trade_engine.edge.auth.tokens import issue_token


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


async def replay_on_server(
    file: Path,
    config: Config,
    market: Market,
    data_dir: Path,
    url: str,
    users: int,
    progress: Callable[[int, int], None],
) -> tuple[dict[str, Any], list[tuple[int, int]]]:
    """Fund so many users, replay a commands file as them and once more on a core: figures, and the server's trades.

    Raises:
        BenchError: a deposit or an order was refused, or the server went away.
    """
    orders = list(rounded(read_lines(file), market.lot_size))
    ids = [str(uuid.uuid5(uuid.NAMESPACE_OID, f"replay user {n}")) for n in range(users)]

    def user_of(order: str) -> int:
        return int(order) % users if order.isdigit() else hash(order) % users

    secret = jwt_secret(config, data_dir)
    auth = config.auth
    tokens = [
        issue_token(secret, user, ttl_s=86_400, issuer=auth.jwt_issuer, audience=auth.jwt_audience) for user in ids
    ]
    async with attached_url(config, data_dir) as database, attached_wallet(database) as wallet:
        for user, needs in zip(ids, funds_for(orders, users, user_of), strict=True):
            for asset, amount in zip((market.base, market.quote), needs, strict=True):
                outcome = await wallet.deposit(user, asset, amount, str(uuid.uuid4()))
                if not outcome.ok:
                    raise BenchError(f"deposit refused: {outcome.code}")
    parts = urlsplit(url)
    started = time.perf_counter()
    link = await connect(parts.hostname or "127.0.0.1", parts.port or 80)
    try:
        trades = await replay_over_http(
            link, orders, market.symbol, lambda order: tokens[user_of(order)], lambda n: progress(n, len(orders))
        )
    except (LoadError, ReplayError) as error:
        raise BenchError(f"the replay ended early: {error}") from error
    finally:
        link.close()
    took = time.perf_counter() - started
    core = match_rounded(((o.id, o.side, o.price, o.quantity) for o in orders), market)
    return {
        "commands": len(orders),
        "trades": len(trades),
        "core_trades": len(core),
        "equals_core": trades == core,
        "commands_per_s": round(len(orders) / took, 1),
    }, trades
