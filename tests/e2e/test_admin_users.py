"""A user's money over the admin API and the command line: seen, moved once, audited, and right in the ledger."""

import asyncio
import json
import os
import sys
import uuid
from typing import Any

import asyncpg
import httpx

from tests.e2e.venue import Venue
from trade_engine.matching.books import new_book
from trade_engine.sequencer.verify import verify


class Operator:
    """An admin of the venue."""

    def __init__(self, venue: Venue) -> None:
        self.http = venue.http
        self.headers = {"Authorization": f"Bearer {venue.token(str(uuid.uuid4()), ('admin',))}"}

    async def get(self, path: str, **params: Any) -> Any:
        answer = await self.http.get(f"/api/v1/admin{path}", params=params, headers=self.headers)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def post(self, path: str, **body: Any) -> httpx.Response:
        return await self.http.post(f"/api/v1/admin{path}", json=body, headers=self.headers)


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


async def test_what_is_a_user_s_is_seen(venue: Venue) -> None:
    admin, symbol = Operator(venue), venue.market()
    base = symbol.split("/")[0]
    seller, buyer = await venue.trader(**{base: "10"}), await venue.trader(USDT="1000")
    await seller.order(symbol, "SELL", "1", "100.00")
    order, [trade] = await buyer.order(symbol, "BUY", "1", "100.00")
    await buyer.order(symbol, "BUY", "1", "90.00")
    await venue.settled()
    path = f"/users/{buyer.user_id}"
    assert (await admin.get(f"{path}/balances"))["data"] == await buyer.get("/balances")
    orders = (await admin.get(f"{path}/orders"))["data"]
    assert orders == await buyer.get("/orders")
    assert [row["id"] for row in (await admin.get(f"{path}/orders", limit=1))["data"]] == [orders[0]["id"]]
    [seen] = (await admin.get(f"{path}/trades", symbol=symbol))["data"]
    assert (seen["id"], seen["side"], seen["buyer_order_id"]) == (trade["id"], "BUY", order["id"])
    entries, cursor = [], None
    while True:
        page = await admin.get(f"{path}/entries", limit=2, **({"cursor": cursor} if cursor else {}))
        entries += page["data"]
        cursor = page["meta"]["next_cursor"]
        if cursor is None:
            break
    assert [row["id"] for row in entries] == sorted((row["id"] for row in entries), reverse=True)
    assert {row["type"] for row in entries} == {"DEPOSIT", "RESERVE", "TRADE_BUY", "FEE"}
    usdt = next(row for row in entries if row["asset"] == "USDT")
    held = next(row for row in await buyer.get("/balances") if row["asset"] == "USDT")
    assert (usdt["available_after"], usdt["reserved_after"]) == (held["available"], held["reserved"])
    assert (await admin.get(f"/users/{uuid.uuid4()}/entries"))["data"] == []
    for wrong in ("balances", "entries", "orders", "trades"):
        answer = await admin.http.get(f"/api/v1/admin/users/nobody/{wrong}", headers=admin.headers)
        assert code(answer) == (400, "INVALID_PARAMETER")


async def test_money_is_moved_once_with_a_reason_and_the_books_agree(venue: Venue) -> None:
    admin, trader = Operator(venue), await venue.trader(USDT="100")
    path, operation = f"/users/{trader.user_id}", str(uuid.uuid4())
    body = {"asset": "usdt", "amount": "30", "operation_id": operation, "reason": "paid out by wire"}
    for _ in range(2):
        moved = (await admin.post(f"{path}/withdrawals", **body)).json()["data"]
        assert (moved["amount"], moved["available"], moved["asset"]) == ("-30", "70", "USDT")
    other = await admin.post(f"{path}/withdrawals", **(body | {"amount": "31"}))
    assert code(other) == (409, "IDEMPOTENCY_CONFLICT")
    for amount, left in (("-0.5", "69.5"), ("1.25", "70.75")):
        right = {"asset": "USDT", "amount": amount, "operation_id": str(uuid.uuid4()), "reason": "a fee charged twice"}
        assert (await admin.post(f"{path}/corrections", **right)).json()["data"]["available"] == left
    paid = await admin.post(f"{path}/deposits", **(body | {"operation_id": str(uuid.uuid4())}))
    assert paid.json()["data"]["available"] == "100.75"

    fresh = {"operation_id": str(uuid.uuid4())}
    wrong: list[tuple[str, dict[str, Any], tuple[int, str]]] = [
        ("withdrawals", {"amount": "1000"}, (400, "INSUFFICIENT_BALANCE")),
        ("withdrawals", {"amount": "0"}, (400, "INVALID_AMOUNT")),
        ("withdrawals", {"amount": "-1"}, (400, "INVALID_AMOUNT")),
        ("withdrawals", {"amount": "0.000000001"}, (400, "INVALID_AMOUNT")),
        ("corrections", {"amount": "-0"}, (400, "INVALID_AMOUNT")),
        ("corrections", {"amount": "--1"}, (400, "INVALID_AMOUNT")),
        ("deposits", {"asset": "USDTT"}, (400, "UNKNOWN_ASSET")),
        ("deposits", {"operation_id": "one"}, (400, "INVALID_PARAMETER")),
        ("deposits", {"reason": ""}, (400, "INVALID_REASON")),
    ]
    for kind, change, expected in wrong:
        assert code(await admin.post(f"{path}/{kind}", **(body | fresh | change))) == expected, change
    nobody = await admin.post(f"/users/{uuid.uuid4()}/withdrawals", **(body | fresh))
    assert nobody.status_code in (400, 404)
    assert await trader.balance("USDT") == (10_075_000_000, 0, 0), "what was refused changed nothing"

    running = venue.running
    actions = await running.pool.fetch("SELECT action, outcome FROM admin_audit ORDER BY audit_id")
    assert [row["action"] for row in actions if row["outcome"] == "asked for"][:6] == [
        "wallet.withdraw", "wallet.withdraw", "wallet.withdraw", "wallet.correct", "wallet.correct", "wallet.deposit",
    ]  # fmt: skip
    assert ("wallet.withdraw", "refused: INSUFFICIENT_BALANCE") in {tuple(row) for row in actions}
    connection = await asyncpg.connect(running.database_url)
    try:
        assert (await verify(connection, new_book)).differences == []
    finally:
        await connection.close()
    assert (await running.reconciler.run()).differences == []


async def test_ending_every_order_of_the_venue_must_be_meant(venue: Venue) -> None:
    admin, symbol, trader = Operator(venue), venue.market(), await venue.trader(USDT="1000")
    order, _ = await trader.order(symbol, "BUY", "1", "10.00")
    for params in ({}, {"confirm": "all orders"}, {"confirm": ""}):
        answer = await admin.http.delete(
            "/api/v1/admin/orders", params={"reason": "a drill"} | params, headers=admin.headers
        )
        assert answer.status_code == 400, answer.text
    assert code(answer)[1] == "CONFIRMATION_NEEDED"
    assert (await trader.get(f"/orders/{order['id']}"))["status"] == "OPEN"
    meant = {"reason": "a drill", "confirm": "ALL"}
    ended = await admin.http.delete("/api/v1/admin/orders", params=meant, headers=admin.headers)
    assert ended.json()["data"] == {"cancelled": 1}


async def test_the_same_from_the_command_line(venue: Venue) -> None:
    trader, running = await venue.trader(USDT="100"), venue.running
    environment = os.environ | {"TRADE_ENGINE__DATABASE__URL": running.database_url}

    async def told(*words: str) -> tuple[int, str]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "trade_engine.cli", *words, "--data-dir", str(running.data_dir), "--json",
            env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        output, _ = await process.communicate()
        return process.returncode or 0, output.decode()

    operation = str(uuid.uuid4())
    words = ("account", "withdraw", trader.user_id, "usdt", "40", "--operation-id", operation, "--reason", "wire")
    for _ in range(2):
        status, output = await told(*words)
        assert (status, json.loads(output)["available"]) == (0, "60"), output
    status, output = await told("account", "correct", trader.user_id, "USDT", "-0.5", "--reason", "a slip")
    assert (status, json.loads(output)["available"]) == (0, "59.5"), output
    status, output = await told("account", "withdraw", trader.user_id, "USDT", "1000", "--reason", "too much")
    assert (status, "INSUFFICIENT_BALANCE" in output) == (1, True)
    status, output = await told("account", "show", trader.user_id)
    assert (status, json.loads(output)["balances"]) == (0, ["USDT available 59.5, reserved 0"])
    status, output = await told("deposit", trader.user_id, "USDTT", "1")
    assert (status, "UNKNOWN_ASSET" in output) == (1, True)
