"""One-cancels-other pairs over our own API, and through the death of the engine."""

import asyncio
import signal
from pathlib import Path
from typing import Any

import httpx

from tests.e2e.processes import checked, funded, served
from tests.e2e.venue import Trader, Venue
from trade_engine.domain.scale import UNIT, parse_units

PAIR: dict[str, Any] = {
    "side": "BUY", "quantity": "1",
    "legs": [
        {"type": "LIMIT", "price": "90.00", "client_order_id": "low"},
        {"type": "STOP_LIMIT", "stop_price": "110.00", "price": "120.00"},
    ],
}  # fmt: skip


async def _post(trader: Trader, body: Any) -> Any:
    return await trader.http.post("/api/v1/order-pairs", json=body, headers=trader.headers)


async def test_a_pair_is_placed_repeated_found_and_cancelled(venue: Venue) -> None:
    trader, symbol = await venue.trader(USDT="1000"), venue.market()
    answer = await _post(trader, {"symbol": symbol, "client_pair_id": "mine"} | PAIR)
    assert answer.status_code == 201, answer.text
    pair = answer.json()["data"]
    stop, limit = pair["legs"]
    assert (pair["client_pair_id"], pair["is_open"], pair["pair"]) == ("mine", True, stop["sequence"])
    assert (stop["linked_sequence"], limit["linked_sequence"]) == (limit["sequence"], stop["sequence"])
    assert await trader.balance("USDT") == (parse_units("879.88"), parse_units("120.12"), 0)
    again = await _post(trader, {"symbol": symbol} | PAIR)
    assert (again.status_code, again.headers["idempotent-replayed"]) == (200, "true")
    assert again.json()["data"] == pair | {"replayed": True}
    assert await trader.get(f"/order-pairs/{limit['id']}") == pair
    assert await trader.get("/order-pairs/client:low") == pair
    change = await trader.http.patch(f"/api/v1/orders/{limit['id']}", json={"quantity": "2"}, headers=trader.headers)
    assert (change.status_code, change.json()["error"]["code"]) == (409, "NOT_AMENDABLE")
    assert (await trader.cancel(limit["id"])).status_code == 200
    ended = await trader.get(f"/order-pairs/{stop['id']}")
    assert [leg["reason"] for leg in ended["legs"]] == ["LINKED_ORDER", "USER_REQUEST"]
    await venue.settled()
    assert await trader.balance("USDT") == (1000 * UNIT, 0, 0)
    stranger = await venue.trader()
    answer = await stranger.http.get(f"/api/v1/order-pairs/{stop['id']}", headers=stranger.headers)
    assert answer.json()["error"]["code"] == "ORDER_NOT_FOUND"


async def test_a_body_that_is_no_pair_places_nothing(venue: Venue) -> None:
    trader, symbol = await venue.trader(USDT="1000"), venue.market()
    for change, code in (
        ({"legs": PAIR["legs"][:1]}, "INVALID_PAIR"),
        ({"legs": [*PAIR["legs"], PAIR["legs"][0]]}, "INVALID_PAIR"),
        ({"legs": [PAIR["legs"][0], {"type": "MARKET"}]}, "INVALID_PAIR"),
        ({"legs": "both"}, "INVALID_PAIR"),
        ({"client_pair_id": "x" * 101}, "INVALID_PAIR"),
        ({"quantity": "0.00000001"}, "INVALID_QUANTITY"),
        ({"symbol": "NONE/USDT"}, "INVALID_SYMBOL"),
    ):
        answer = await _post(trader, {"symbol": symbol} | PAIR | change)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, code), answer.text
    assert await trader.get("/orders") == []
    assert await trader.balance("USDT") == (1000 * UNIT, 0, 0)


def test_pairs_outlive_a_killed_engine(data_dir: Path) -> None:
    acknowledged: dict[str, int] = {}
    with served(data_dir, failpoints="after_commit=crash@12") as (port, server):
        tokens = asyncio.run(funded(data_dir, 2))
        asyncio.run(_place_until_it_dies(port, tokens, acknowledged))
        assert server.wait(30) == -signal.SIGKILL
    assert acknowledged
    with served(data_dir) as (port, _):
        asyncio.run(checked(data_dir, acknowledged))
        asyncio.run(_fill_one_and_cancel_all(port, tokens))
        asyncio.run(checked(data_dir, acknowledged))


async def _place_until_it_dies(port: int, tokens: list[str], acknowledged: dict[str, int]) -> None:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}/api/v1", timeout=20) as http:
        for n in range(200):
            legs = [
                {"type": "LIMIT", "price": f"{50_000 - n}.00"},
                {"type": "STOP_LIMIT", "stop_price": "51000.00", "price": "51010.00"},
            ]
            body = {"symbol": "BTC/USDT", "side": "BUY", "quantity": "0.01", "legs": legs}
            try:
                answer = await http.post("/order-pairs", json=body, headers={"Authorization": f"Bearer {tokens[0]}"})
            except httpx.TransportError:
                return
            assert answer.status_code == 201, answer.text
            acknowledged |= {leg["id"]: 0 for leg in answer.json()["data"]["legs"]}


async def _fill_one_and_cancel_all(port: int, tokens: list[str]) -> None:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}/api/v1", timeout=20) as http:
        first, second = [{"Authorization": f"Bearer {token}"} for token in tokens]
        body = {"symbol": "BTC/USDT", "side": "SELL", "type": "LIMIT", "quantity": "0.004", "price": "50000.00"}
        assert (await http.post("/orders", json=body, headers=second)).status_code == 201
        ended = (await http.get("/orders?status=cancelled", headers=first)).json()["data"]
        assert [order["reason"] for order in ended] == ["LINKED_ORDER"]
        assert (await http.delete("/orders", headers=first)).json()["data"]["cancelled"] > 1
        for _ in range(200):
            rows = (await http.get("/balances", headers=first)).json()["data"]
            [usdt] = [row for row in rows if row["asset"] == "USDT"]
            if usdt["reserved"] == "0":
                return
            await asyncio.sleep(0.05)
        raise AssertionError(usdt)
