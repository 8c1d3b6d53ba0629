"""Anything at all, sent to every route of the face that clients of Binance know: it answers, and has no fault."""

import random
from collections import Counter
from urllib.parse import urlencode

import httpx

from tests.e2e.binance.conftest import Face, Key
from tests.e2e.binance.test_order_lists import verified
from trade_engine.edge.auth.tokens import TRADER
from trade_engine.edge.binance.routes import BINANCE_ROUTES
from trade_engine.edge.rest.route import Route

_EACH = 16
_LOGIN = ("timestamp", "recvWindow", "signature")
#: What parameters may be called, and what clients, or somebody else, may write there.
_WORDS = (
    "BUY", "SELL", "LIMIT", "MARKET", "STOP_LOSS", "STOP_LOSS_LIMIT", "TAKE_PROFIT", "LIMIT_MAKER", "GTC", "IOC", "FOK",
    "ACK", "FULL", "STOP_ON_FAILURE", "ALLOW_FAILURE", "ONLY_NEW", "EXPIRE_BOTH", "1d", "1m", "true", "NaN", "-1", "0",
    "1e5", "0.00000001", "99999999999999999999", "9223372036854775807", "1", "100", "110.5", "null", "[]",
    '["BTCUSDT"]', "a", "x" * 40, "é", "€𝔘", "a b", "'--", "{}", "00000000-0000-7000-8000-000000000000", "90000000000",
)  # fmt: skip
_USUAL = {
    "side": ("BUY", "SELL"), "quantity": ("1", "0.5"), "type": ("LIMIT", "MARKET", "STOP_LOSS_LIMIT", "LIMIT_MAKER"),
    "aboveType": ("LIMIT_MAKER", "STOP_LOSS", "STOP_LOSS_LIMIT"), "belowType": ("LIMIT_MAKER", "STOP_LOSS_LIMIT"),
    "timeInForce": ("GTC",), "price": ("100", "110"), "stopPrice": ("90", "120"), "abovePrice": ("110", "120"),
    "belowPrice": ("80", "90"), "aboveStopPrice": ("115",), "belowStopPrice": ("85",), "newQty": ("0.5", "0.2"),
    "aboveTimeInForce": ("GTC",), "belowTimeInForce": ("GTC",), "cancelReplaceMode": ("ALLOW_FAILURE",),
    "stopLimitPrice": ("80", "125"), "stopLimitTimeInForce": ("GTC",),
}  # fmt: skip


def parameters(draw: random.Random, route: Route, joined: str, numbers: list[int]) -> dict[str, str]:
    """Parameters of a route, most of them as they should be, now and then."""
    given: dict[str, str] = {}
    for name in (parameter.name for parameter in route.parameters if parameter.name not in _LOGIN):
        if draw.random() < 0.35:
            continue
        if name == "symbol" and draw.random() < 0.9:
            given[name] = joined
        elif name in ("orderId", "orderListId", "cancelOrderId", "fromId") and draw.random() < 0.8:
            given[name] = str(draw.choice(numbers or [1]))
        elif name in _USUAL and draw.random() < 0.8:
            given[name] = draw.choice(_USUAL[name])
        else:
            given[name] = draw.choice(_WORDS)
    return given


async def test_no_request_makes_a_fault(face: Face) -> None:
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    draw, (_, joined) = random.Random(seed), face.market()
    base = joined.removesuffix("USDT")
    keys = [await face.key(await face.trader(**{"USDT": "100000", base: "1000"})) for _ in range(2)]
    numbers: list[int] = []
    statuses: Counter[int] = Counter()
    routes = [route for route in BINANCE_ROUTES for _ in range(_EACH)]
    draw.shuffle(routes)
    for route in routes:
        key = draw.choice(keys)
        given = parameters(draw, route, joined, numbers)
        answer = await _ask(key, route, given)
        statuses[answer.status_code] += 1
        assert answer.status_code < 500, (route.method, route.path, given, answer.text)
        content = answer.json()
        if answer.status_code != 200:
            assert content.keys() - {"data"} == {"code", "msg"}, (route.method, route.path, given, content)
        elif isinstance(content, dict):
            numbers += [content[name] for name in ("orderId", "orderListId") if content.get(name, -1) > 0]
    assert statuses[200] > 50
    assert statuses[400] > 50
    for key in keys:
        await key.ask("DELETE", "/api/v3/openOrders", symbol=joined)
    await verified(face)


async def _ask(key: Key, route: Route, given: dict[str, str]) -> httpx.Response:
    if route.access == TRADER:
        return await key.ask(route.method, route.path, timestamp=None, **given)
    return await key.http.request(route.method, f"{route.path}?{urlencode(given)}")
