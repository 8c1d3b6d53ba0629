"""Orders named by their client order id: looked up, changed and cancelled, over every way in, by their owner alone."""

from typing import Any
from urllib.parse import quote

import pytest

from tests.e2e.venue import Trader, Venue

GOOD = {"symbol": "T60/USDT", "side": "BUY", "type": "LIMIT", "quantity": "1", "price": "100.00"}
NAMES = ("a-1", "x" * 100, "client:a", "1/2?3#4%5", "\u00e4 \u6771", "0192f0c1-2b3c-7d4e-8f50-61728394a5b6")


async def ask(trader: Trader, method: str, name: str, **more: Any) -> tuple[int, Any]:
    """A request about the order of a client order id: status, and data or error."""
    path = f"/api/v1/orders/client:{quote(name, safe='')}"
    answer = await trader.http.request(method, path, headers=trader.headers, **more)
    body = answer.json()
    return answer.status_code, body["data"] if body["success"] else body["error"]


@pytest.mark.parametrize("name", NAMES)
async def test_an_order_is_found_changed_and_cancelled_by_its_name(venue: Venue, name: str) -> None:
    trader, stranger = await venue.trader(USDT="1000"), await venue.trader(USDT="1000")
    placed = (await trader.post(GOOD | {"client_order_id": name})).json()["data"]["order"]
    assert await ask(trader, "GET", name) == (200, placed)
    for method, more in (("GET", {}), ("DELETE", {}), ("PATCH", {"json": {"price": "99.00"}})):
        status, error = await ask(stranger, method, name, **more)
        assert (status, error["code"]) == (404, "ORDER_NOT_FOUND")
    status, changed = await ask(trader, "PATCH", name, json={"price": "99.00"})
    assert (status, changed["order"]["id"], changed["order"]["price"]) == (200, placed["id"], "99.00")
    for _ in range(2):
        status, ended = await ask(trader, "DELETE", name)
        assert (status, ended["id"], ended["status"]) == (200, placed["id"], "CANCELLED")


@pytest.mark.parametrize("name", ["", "y" * 101, "a\tb", "a\x00b"])
async def test_what_is_no_client_order_id_is_refused(venue: Venue, name: str) -> None:
    trader = await venue.trader(USDT="1000")
    status, error = await ask(trader, "GET", name)
    assert (status, error["code"], error["details"]["field"]) == (400, "INVALID_ORDER_ID", "order_id")
