"""Another REST face is a route table, a place where logins are, and an envelope; all else is the same."""

import uuid
from collections.abc import Awaitable, Callable

import httpx
import msgspec

from tests.integration.edge.conftest import SECRET, Api, Start
from trade_engine.domain.enums import OrderStatus, OrderType, Side
from trade_engine.domain.errors import EngineError
from trade_engine.domain.orders import PlaceOrder
from trade_engine.domain.scale import format_units, parse_units
from trade_engine.edge.auth.tokens import TRADER, Principal, issue_token
from trade_engine.edge.caller import Callers
from trade_engine.edge.limits import Verdict
from trade_engine.edge.rest.call import Answer, Call
from trade_engine.edge.rest.envelope import Headers, ShownFailure
from trade_engine.edge.rest.parameters import Parameter
from trade_engine.edge.rest.route import Route
from trade_engine.edge.rest.router import Router
from trade_engine.edge.settings import LOGINS, ORDERS, PUBLIC, LimitSettings, RateLimit

GIVEN = tuple(Parameter(name, {}, "") for name in ("symbol", "side", "quantity", "price"))


class Bare:
    """No envelope, numbers for codes, and one header for limits."""

    def success(self, answer: Answer, request_id: str) -> bytes:
        """Only the data."""
        assert request_id
        return msgspec.json.encode(answer.data)

    def failure(self, error: EngineError, request_id: str) -> ShownFailure:
        """A number and a text."""
        assert request_id
        body = msgspec.json.encode({"code": -len(error.code), "msg": error.code})
        return ShownFailure(418, body, [(b"x-kind", type(error).__name__.encode())])

    def limits(self, limit: str, verdict: Verdict) -> Headers:
        """What is used up."""
        assert limit in (ORDERS, LOGINS, PUBLIC)
        return [(b"x-used", str(verdict.limit - verdict.remaining).encode())]


class InHeader:
    """Logins in a header of their own."""

    def __init__(self, callers: Callers) -> None:
        self._callers = callers

    def is_strange(self, headers: Headers) -> bool:
        """Whether it is not known to be good."""
        return not self._callers.knows_token(_token(headers))

    async def read(
        self, headers: Headers, method: str, target: bytes, address: str, body: Callable[[], Awaitable[bytes]]
    ) -> tuple[Principal | None, bytes | None]:
        """Who it is."""
        assert method == "POST"
        assert target.startswith(b"/v3/order?")
        assert address == "127.0.0.1"
        return self._callers.by_token(_token(headers)), await body()


def _token(headers: Headers) -> bytes:
    return b"Bearer " + next((value for name, value in headers if name == b"x-login"), b"")


async def order(call: Call) -> Answer:
    """Place what the query says."""
    given = call.query
    request = PlaceOrder(
        user_id=call.user_id, symbol=call.services.markets.named(given["symbol"]).symbol, side=Side[given["side"]],
        type=OrderType.LIMIT, quantity=parse_units(given["quantity"]), price=parse_units(given["price"]),
    )  # fmt: skip
    placed = await call.services.desk.place(request)
    return Answer({"orderId": placed.order.order_id, "executedQty": format_units(placed.order.filled)})


ROUTE = Route("v3_order", "v3", "POST", "/v3/order", order, TRADER, ORDERS, parameters=GIVEN, scope="trade")


def other(api: Api) -> httpx.AsyncClient:
    app = Router(api.services, (ROUTE,), InHeader(api.services.callers), Bare())
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://other")


async def test_another_face_has_its_own_routes_logins_and_answers(start: Start) -> None:
    user_id = str(uuid.uuid4())
    wanted = {"symbol": "btcusdt", "side": "BUY", "quantity": "0.1", "price": "50000"}
    login = {"X-Login": issue_token(SECRET, user_id)}
    async with start(limits=LimitSettings(orders=RateLimit(0.001, 3))) as api, other(api) as http:
        api.headers(user_id)
        placed = await http.post("/v3/order", params=wanted, headers=login)
        assert placed.status_code == 200, placed.text
        stored = api.orders[placed.json()["orderId"]]
        assert (stored.user_id, stored.status) == (user_id, OrderStatus.OPEN)
        assert placed.json() == {"orderId": stored.order_id, "executedQty": "0"}
        assert placed.headers["x-used"] == "1"
        assert "x-ratelimit-limit" not in placed.headers
        strange = await http.post("/v3/order", params=wanted, headers={"X-Login": "no.such.token"})
        assert (strange.status_code, strange.json()["msg"]) == (418, "INVALID_TOKEN")
        assert strange.headers["x-kind"] == "Unauthorized"
        nowhere = await http.get("/api/v1/markets")
        assert nowhere.json()["msg"] == "ROUTE_NOT_FOUND"
        # Both faces count against the same limit.
        assert (await http.post("/v3/order", params=wanted | {"side": "SELL"}, headers=login)).status_code == 200
        ours = {"Authorization": f"Bearer {login['X-Login']}"}
        third = await api.http.delete("/api/v1/orders", headers=ours)
        assert (third.status_code, third.headers["x-ratelimit-remaining"]) == (200, "0")
        late = await http.post("/v3/order", params=wanted, headers=login)
        assert (late.json()["msg"], late.headers["x-used"]) == ("RATE_LIMITED", "3")
