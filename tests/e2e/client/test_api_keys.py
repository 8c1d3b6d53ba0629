"""A client with an API key: requests and the stream's login are signed, scopes hold, a revoked key is out at once."""

import asyncio
import os
import sys
from typing import Any

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from tests.e2e.client.conftest import address, opened
from tests.e2e.venue import Trader, Venue
from trade_engine.client import ApiError, AsyncClient, Retry

QUICK = Retry(deadline_s=5, timeout_s=2, first_pause_s=0.05, longest_pause_s=0.2)


async def key_of(trader: Trader, *scopes: str) -> tuple[str, dict[str, str]]:
    """A new key's id, and the options a client takes."""
    body = {"name": "bot", "scopes": list(scopes)}
    answer = await trader.http.post("/api/v1/api-keys", json=body, headers=trader.headers)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()["data"]
    return made["key"]["key_id"], {"api_key": made["key"]["key_id"], "api_secret": made["secret"]}


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_every_kind_of_request_is_signed(venue: Venue, kind: str) -> None:
    symbol = venue.market()
    trader = await venue.trader(USDT="1000")
    _, login = await key_of(trader, "read", "trade")
    async with opened(kind, address(venue), **login) as client:
        placed = await client.place(symbol, "BUY", "1", "10.00")
        assert [order.id for order in await client.orders(symbol=symbol, status="open")] == [placed.order.id]
        assert (await client.amend(placed.order.id, quantity="0.5")).order.quantity == 0.5
        assert (await client.cancel(placed.order.id)).status == "CANCELLED"
        assert (await client.balances())[0].asset == "USDT"


async def test_the_stream_logs_in_with_a_key_and_scopes_hold(venue: Venue) -> None:
    symbol = venue.market()
    trader = await venue.trader(USDT="1000")
    key_id, login = await key_of(trader, "read", "trade")
    _, reading = await key_of(trader, "read")
    async with AsyncClient(address(venue), **login, retry=QUICK) as client, client.stream() as stream:
        await stream.subscribe("orders")
        assert (await stream.place(symbol, "BUY", "1", "10.00")).order.status == "OPEN"
        gone = await trader.http.delete(f"/api/v1/api-keys/{key_id}", headers=trader.headers)
        assert gone.status_code == 200
        with pytest.raises(ApiError) as refused:
            await stream.place(symbol, "BUY", "1", "11.00")
        assert refused.value.code == "INVALID_API_KEY"
    async with AsyncClient(address(venue), **reading, retry=QUICK) as client, client.stream() as stream:
        await stream.subscribe("balances")
        with pytest.raises(ApiError) as refused:
            await stream.place(symbol, "BUY", "1", "12.00")
        assert refused.value.code == "SCOPE_MISSING"
    assert len(await trader.get("/orders", symbol=symbol)) == 1


async def test_the_connections_of_a_revoked_key_are_closed(venue: Venue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trade_engine.edge.ws.server._KEYS_EVERY_S", 0.2)
    trader = await venue.trader(USDT="1000")
    key_id, login = await key_of(trader, "read")
    async with AsyncClient(address(venue), **login, retry=QUICK) as client, client.stream() as stream:
        await stream.subscribe("balances")
        assert venue.running.streams.connections == 1
        await trader.http.delete(f"/api/v1/api-keys/{key_id}", headers=trader.headers)
        async with asyncio.timeout(10):
            while any(
                connection.session is not None and connection.session.principals
                for connection in list(venue.running.streams._connections)
            ):
                await asyncio.sleep(0.05)


async def test_the_key_that_encrypts_secrets_changes_and_nobody_notices(venue: Venue) -> None:
    trader = await venue.trader(USDT="1000")
    _, login = await key_of(trader, "read")
    running = venue.running
    file = running.data_dir / "api-keys.secret"
    before = file.read_text()
    environment = os.environ | {"TRADE_ENGINE__DATABASE__URL": running.database_url}
    async with AsyncClient(address(venue), **login, retry=QUICK) as client:
        await client.balances()
        rotating = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "trade_engine.cli", "api-key", "rotate", "--reason", "yearly",
            "--data-dir", str(running.data_dir), env=environment,
        )  # fmt: skip
        while rotating.returncode is None:
            await client.balances()
            await asyncio.sleep(0.05)
        assert await rotating.wait() == 0
        assert file.read_text() != before
        await asyncio.sleep(1.1)
        await client.balances()
    _, login = await key_of(trader, "read")
    async with AsyncClient(address(venue), **login, retry=QUICK) as client:
        await client.balances()
    secrets = await running.pool.fetch("SELECT key_id, secret FROM api_keys")
    old = AESGCM(bytes.fromhex(before.strip()))
    for row in secrets:
        with pytest.raises(InvalidTag):
            old.decrypt(row["secret"][:12], row["secret"][12:], row["key_id"].encode())
