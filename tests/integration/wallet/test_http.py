"""The wallet service over real HTTP: the contract word for word, who may call, and how its client behaves."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any

import asyncpg
import httpx
import pytest

from tests.fault.proxy import FaultProxy
from tests.harness.postgres import TestServer
from tests.harness.reservations import reserved
from tests.harness.wallet_service import SECRET, wallet_service
from tests.integration.conftest import POOLED
from trade_engine.domain.scale import UNIT
from trade_engine.edge.auth.tokens import ENGINE, SERVICE, TRADER, issue_token
from trade_engine.wallet.breaker import BreakerSettings
from trade_engine.wallet.http_app import warn_of_service
from trade_engine.wallet.http_client import (
    ClientSettings,
    HttpWallet,
    WalletCircuitOpen,
    WalletRejectsCaller,
    WalletServerError,
    WalletTransportError,
)
from trade_engine.wallet.port import Balance, BreakerState, Release, Reserve, WalletUnavailable

PREFIX = "/api/v1/wallets"


def new_id() -> str:
    return str(uuid.uuid4())


def token_of(role: str = SERVICE) -> str:
    return issue_token(SECRET, new_id(), (role,))


@pytest.fixture
async def port(database_url: str) -> AsyncIterator[int]:
    async with wallet_service(database_url) as number:
        yield number


@pytest.fixture
async def http(port: int) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {token_of()}"}
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=10) as client:
        yield client


async def ask(http: httpx.AsyncClient, path: str, **body: Any) -> tuple[int, Any]:
    answer = await http.post(PREFIX + path, json=body)
    return answer.status_code, answer.json()


async def funded(http: httpx.AsyncClient, asset: str, amount: str) -> str:
    user = new_id()
    status, answer = await ask(http, "/deposit", user_id=user, asset=asset, amount=amount, operation_id=new_id())
    assert (status, answer) == (200, {"success": True, "available_balance": amount, "reserved_balance": "0"})
    return user


async def test_reserve_and_release_by_the_contract(http: httpx.AsyncClient) -> None:
    user, order = await funded(http, "USDT", "100"), new_id()
    body = {"user_id": user, "asset": "USDT", "amount": "60.5", "order_id": order, "reason": "order"}
    first = await ask(http, "/reserve", **body)
    assert first == (
        200,
        {"success": True, "reservation_id": order, "available_balance": "39.5", "reserved_balance": "60.5"},
    )
    assert await ask(http, "/reserve", **body) == first
    status, answer = await ask(http, "/reserve", **body | {"amount": "1"})
    assert (status, answer["success"], answer["error"]["code"]) == (409, False, "IDEMPOTENCY_CONFLICT")
    status, answer = await ask(http, "/reserve", **body | {"amount": "40", "order_id": new_id()})
    assert (status, answer["error"]["code"]) == (400, "INSUFFICIENT_BALANCE")
    status, answer = await ask(http, "/release", order_id=order, amount="0.5", operation_id=new_id(), reason="partly")
    assert answer == {
        "success": True, "released_amount": "0.5", "available_balance": "40", "reserved_balance": "60",
    }  # fmt: skip
    rest = await ask(http, "/release", order_id=order, reason="all")
    assert rest[1]["released_amount"] == "60"
    assert await ask(http, "/release", order_id=order, reason="all") == rest
    answer = (await http.get(f"{PREFIX}/{user}/balances")).json()
    assert answer == {"success": True, "balances": {"USDT": {"available": "100", "reserved": "0"}}}
    page = (await http.get(f"{PREFIX}/{user}/ledger", params={"limit": 2})).json()
    assert [entry["type"] for entry in page["entries"]] == ["RELEASE", "RELEASE"]
    older = (await http.get(f"{PREFIX}/{user}/ledger", params={"before": page["next_before"]})).json()
    assert [entry["type"] for entry in older["entries"]] == ["RESERVE", "DEPOSIT"]
    assert older["next_before"] is None


async def test_a_trade_settles_once_and_answers_the_same_again(http: httpx.AsyncClient) -> None:
    buyer, seller = await funded(http, "USDT", "1000"), await funded(http, "BTC", "2")
    bought, sold = new_id(), new_id()
    await ask(http, "/reserve", user_id=buyer, asset="USDT", amount="100.1", order_id=bought, reason="order")
    await ask(http, "/reserve", user_id=seller, asset="BTC", amount="1", order_id=sold, reason="order")
    body = {
        "trade_id": new_id(), "buyer_user_id": buyer, "seller_user_id": seller, "base_asset": "BTC",
        "quote_asset": "USDT", "quantity": "1", "price": "100", "buyer_fee": "0.1", "seller_fee": "0.05",
        "buyer_fee_asset": "USDT", "seller_fee_asset": "USDT", "buyer_reservation_id": bought,
        "seller_order_id": sold,
    }  # fmt: skip
    status, answer = await ask(http, "/settle-trade", **body)
    assert status == 200, answer
    assert answer["buyer_balances"] == {
        "USDT": {"available": "899.9", "reserved": "0"}, "BTC": {"available": "1", "reserved": "0"},
    }  # fmt: skip
    assert answer["seller_balances"] == {
        "BTC": {"available": "1", "reserved": "0"}, "USDT": {"available": "99.95", "reserved": "0"},
    }  # fmt: skip
    assert answer["buyer_ledger_entry_id"] != answer["seller_ledger_entry_id"]
    await ask(http, "/withdraw", user_id=buyer, asset="USDT", amount="899.9", operation_id=new_id())
    assert await ask(http, "/settle-trade", **body) == (200, answer)
    status, answer = await ask(http, "/settle-trade", **body | {"quantity": "2"})
    assert (status, answer["error"]["code"]) == (409, "IDEMPOTENCY_CONFLICT")
    status, answer = await ask(http, "/settle-trade", **body | {"trade_id": new_id()})
    assert (status, answer["error"]["code"]) == (404, "RESERVATION_NOT_FOUND")


async def test_a_client_that_knows_only_users_assets_and_amounts(http: httpx.AsyncClient) -> None:
    """SPEC 5.3: each side out of its user's reservations of the asset, oldest first, whatever they were for."""
    buyer, seller = await funded(http, "USDT", "100000"), await funded(http, "BTC", "3")
    bought, sold = [new_id() for _ in range(3)], [new_id() for _ in range(2)]
    for order, amount in zip(bought, ("20000", "15000", "20000"), strict=True):
        await ask(http, "/reserve", user_id=buyer, asset="USDT", amount=amount, order_id=order, reason="order")
    for order in sold:
        await ask(http, "/reserve", user_id=seller, asset="BTC", amount="0.8", order_id=order, reason="order")
    body = {
        "trade_id": new_id(), "buyer_user_id": buyer, "seller_user_id": seller, "base_asset": "BTC",
        "quote_asset": "USDT", "quantity": "1", "price": "30000", "buyer_fee": "30", "seller_fee": "15",
        "buyer_fee_asset": "USDT", "seller_fee_asset": "USDT",
    }  # fmt: skip
    status, answer = await ask(http, "/settle-trade", **body)
    assert status == 200, answer
    assert answer["buyer_balances"] == {
        "USDT": {"available": "45000", "reserved": "24970"}, "BTC": {"available": "1", "reserved": "0"},
    }  # fmt: skip
    assert answer["seller_balances"] == {
        "BTC": {"available": "1.4", "reserved": "0.6"}, "USDT": {"available": "29985", "reserved": "0"},
    }  # fmt: skip
    assert await ask(http, "/settle-trade", **body) == (200, answer)
    rows = (await http.get(f"{PREFIX}/reservations")).json()["reservations"]
    assert {row["order_id"]: row["remaining"] for row in rows} == {
        bought[1]: "4970", bought[2]: "20000", sold[1]: "0.6",
    }  # fmt: skip
    more = body | {"trade_id": new_id(), "quantity": "0.7"}
    status, refused = await ask(http, "/settle-trade", **more)
    assert (status, refused["error"]["code"]) == (400, "INSUFFICIENT_BALANCE")
    assert (await http.get(f"{PREFIX}/reservations")).json()["reservations"] == rows, "nothing moved"
    batch = [more, more | {"trade_id": new_id(), "quantity": "0.1", "seller_order_id": sold[1]}]
    status, answer = await ask(http, "/settle-trade/batch", items=batch)
    assert [row["code"] for row in answer["outcomes"]] == ["INSUFFICIENT_BALANCE", "OK"]
    assert (await http.get(f"{PREFIX}/audit")).json()["differences"] == []


@pytest.mark.parametrize(
    ("path", "change", "status", "code"),
    [
        ("/reserve", {"amount": "-1"}, 400, "INVALID_AMOUNT"),
        ("/reserve", {"amount": "1e3"}, 400, "INVALID_AMOUNT"),
        ("/reserve", {"amount": 1}, 400, "INVALID_AMOUNT"),
        ("/reserve", {"amount": "0"}, 400, "INVALID_AMOUNT"),
        ("/reserve", {"user_id": "nobody"}, 400, "INVALID_REQUEST"),
        ("/reserve", {"user_id": "6f2c1d2e-6a7b-5c3d-9e4f-0a1b2c3d4e5f"}, 404, "USER_NOT_FOUND"),
        ("/reserve", {"unknown": 1}, 400, "INVALID_REQUEST"),
        ("/reserve", {"asset": "USDT\n"}, 400, "INVALID_REQUEST"),
        ("/reserve", {"user_id": new_id() + "\n"}, 400, "INVALID_REQUEST"),
        ("/reserve", {"order_id": new_id() + "\n"}, 400, "INVALID_REQUEST"),
        ("/reserve", {"amount": "1\n"}, 400, "INVALID_AMOUNT"),
        ("/reserve", {"reason": "a\0b"}, 400, "INVALID_REQUEST"),
        ("/reserve", {"epoch": 2**63}, 400, "INVALID_REQUEST"),
        ("/reserve", {"epoch": -1}, 400, "INVALID_REQUEST"),
        ("/release", {"reason": "\0"}, 400, "INVALID_REQUEST"),
        ("/release", {"user_id": None, "asset": None, "amount": None}, 404, "RESERVATION_NOT_FOUND"),
    ],
)
async def test_refusals(http: httpx.AsyncClient, path: str, change: dict[str, Any], status: int, code: str) -> None:
    user = await funded(http, "USDT", "1")
    body = {"user_id": user, "asset": "USDT", "amount": "1", "order_id": new_id(), "reason": "order"} | change
    answered, answer = await ask(http, path, **body)
    assert (answered, answer["error"]["code"], answer["success"]) == (status, code, False), answer


async def test_a_stale_epoch_is_refused(http: httpx.AsyncClient) -> None:
    user = await funded(http, "USDT", "1")
    body = {"user_id": user, "asset": "USDT", "amount": "1", "order_id": new_id(), "reason": "order"}
    assert (await ask(http, "/reserve/batch", epoch=7, items=[]))[0] == 200
    status, answer = await ask(http, "/reserve", **body | {"epoch": 6})
    assert (status, answer["error"]["code"]) == (409, "STALE_EPOCH")


async def test_only_service_tokens_may_call(http: httpx.AsyncClient) -> None:
    path = f"{PREFIX}/{new_id()}/balances"
    for header, status, code in (
        ("", 401, "UNAUTHORIZED"),
        ("Bearer nonsense", 401, "UNAUTHORIZED"),
        (f"Bearer {token_of(TRADER)}", 403, "FORBIDDEN"),
    ):
        answer = await http.get(path, headers={"Authorization": header})
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


async def test_health_metrics_and_description(http: httpx.AsyncClient) -> None:
    assert (await http.get("/health/live")).json() == {"status": "alive"}
    assert (await http.get("/health/ready")).json()["status"] == "ready"
    await funded(http, "USDT", "1")
    assert 'wallet_requests_total{code="OK",operation="deposit"} 1.0' in (await http.get("/metrics")).text
    described = (await http.get("/openapi.json")).json()
    assert described["openapi"] == "3.1.0"
    assert set(described["paths"]) >= {f"{PREFIX}/reserve", f"{PREFIX}/release", f"{PREFIX}/settle-trade"}
    assert (await http.get("/nowhere")).json()["error"]["code"] == "ROUTE_NOT_FOUND"
    assert (await http.get(f"{PREFIX}/reserve")).status_code == 405


async def test_readiness_asks_nothing(http: httpx.AsyncClient, database_url: str) -> None:
    """Whoever may not call can still ask whether it is ready, as often as they like: nobody waits for a table."""
    connection = await asyncpg.connect(database_url)
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE wallet.fence, wallet.balances IN ACCESS EXCLUSIVE MODE")
            answers = [await http.get(path) for _ in range(50) for path in ("/health/ready", "/ready", "/health/live")]
            assert {answer.status_code for answer in answers} == {200}
    finally:
        await connection.close()


async def test_readiness_tells_of_a_database_that_went_away(
    postgres: TestServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trade_engine.storage.probe._EVERY_S", 0.05)
    url = postgres.migrated()
    async with wallet_service(url) as port, httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
        assert (await http.get("/health/ready")).json() == {"status": "ready", "database": "ok"}
        postgres.drop(url)
        async with asyncio.timeout(30):
            while (answer := await http.get("/health/ready")).status_code == 200:
                await asyncio.sleep(0.02)
        assert answer.status_code == 503
        # A pooler keeps whoever asks waiting.
        said = "was not asked for too long" if POOLED else "does not answer"
        assert answer.json() == {"status": "not ready", "database": said}
        assert (await http.get("/health/live")).status_code == 200


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
async def client_of() -> AsyncIterator[Callable[..., HttpWallet]]:
    made: list[HttpWallet] = []

    def make(port: int, clock: Callable[[], float] | None = None, token: str = "", **settings: Any) -> HttpWallet:
        options: dict[str, Any] = {"backoff_s": 0.01, "backoff_max_s": 0.02, "timeout_s": 1.0} | settings
        client = HttpWallet(
            ClientSettings(f"http://127.0.0.1:{port}", **options),
            lambda: token or token_of(),
            clock=clock or Clock(),
            chance=lambda: 0.5,
        )
        made.append(client)
        return client

    yield make
    for client in made:
        await client.aclose()


async def test_the_client_is_the_port(port: int, client_of: Callable[..., HttpWallet]) -> None:
    client, user, order = client_of(port), new_id(), new_id()
    assert (await client.deposit(user, "USDT", 5 * UNIT, new_id())).available == 5 * UNIT
    assert (await client.withdraw(user, "USDT", 6 * UNIT, new_id())).code == "INSUFFICIENT_BALANCE"
    reserves = [Reserve(user, "USDT", 2 * UNIT, order, order), Reserve(user, "USDT", 9 * UNIT, new_id(), new_id())]
    done, refused = await client.reserve_many(reserves, 1)
    assert (done.ok, done.reserved, refused.code) == (True, 2 * UNIT, "INSUFFICIENT_BALANCE")
    assert [row[:4] for row in await reserved(client)] == [(order, user, "USDT", 2 * UNIT)]
    [released] = await client.release_many([Release(order, user, "USDT", None, new_id())])
    assert (released.amount, await client.balances(user)) == (2 * UNIT, [Balance("USDT", 5 * UNIT, 0)])
    assert await client.audit() == []
    with pytest.raises(WalletRejectsCaller):
        await client_of(port, token="nonsense").balances(user)


async def test_what_may_be_repeated_is_repeated_and_a_reserve_is_not(
    port: int, client_of: Callable[..., HttpWallet]
) -> None:
    proxy = FaultProxy(port, 1)
    client = client_of(await proxy.start(), retries=3)
    proxy.outage = True
    try:
        with pytest.raises(WalletTransportError):
            await client.reserve_many([], 1)
        assert proxy.met["outage"] == 1
        with pytest.raises(WalletTransportError):
            await client.release_many([])
        assert proxy.met["outage"] == 5
        proxy.outage = False
        assert await client.release_many([]) == []
    finally:
        await proxy.stop()


async def test_an_audit_may_take_longer_than_a_call(
    port: int, database_url: str, client_of: Callable[..., HttpWallet]
) -> None:
    """It reads the whole ledger: cut off, it would be asked for again, fail again, and open the breaker."""
    client = client_of(port, timeout_s=0.3, retries=0)
    connection = await asyncpg.connect(database_url)
    async with connection.transaction():
        await connection.execute("LOCK TABLE wallet.balances IN ACCESS EXCLUSIVE MODE")
        audit = asyncio.create_task(client.audit())
        with pytest.raises(WalletTransportError):
            await client.balances(new_id())
        assert not audit.done()
    assert await audit == []
    await connection.close()


async def test_the_breaker_opens_and_closes_over_http(port: int, client_of: Callable[..., HttpWallet]) -> None:
    proxy, clock = FaultProxy(port, 1), Clock()
    client = client_of(await proxy.start(), clock, breaker=BreakerSettings())
    proxy.outage = True
    try:
        for _ in range(6):
            with pytest.raises(WalletUnavailable):
                await client.reserve_many([], 1)
        with pytest.raises(WalletCircuitOpen) as caught:
            await client.reserve_many([], 1)
        assert caught.value.sent is False
        proxy.outage = False
        clock.now_s += 30
        for _ in range(3):
            assert await client.reserve_many([], 1) == []
        assert client.breaker.state is BreakerState.CLOSED
        assert client.counts["reserve/batch", "ok"] == 3
    finally:
        await proxy.stop()


async def test_a_reserve_waits_half_a_second_at_most(client_of: Callable[..., HttpWallet]) -> None:
    gone = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        await writer.wait_closed()
        gone.set()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    client = client_of(server.sockets[0].getsockname()[1])
    started = asyncio.get_running_loop().time()
    with pytest.raises(WalletTransportError):
        await client.reserve_many([], 1)
    assert 0.4 < asyncio.get_running_loop().time() - started < 5
    await asyncio.wait_for(gone.wait(), 5)
    server.close()


async def test_a_server_error_is_told_as_such(client_of: Callable[..., HttpWallet]) -> None:
    async def broken(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 500 X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(broken, "127.0.0.1", 0)
    client = client_of(server.sockets[0].getsockname()[1])
    with pytest.raises(WalletServerError):
        await client.balances(new_id())
    assert client.counts[("balances", "retry")] == 3
    server.close()


async def test_only_an_engine_names_an_epoch_and_a_service_is_warned_once(
    port: int, http: httpx.AsyncClient, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = {"Authorization": f"Bearer {token_of(ENGINE)}"}
    answer = await http.post(f"{PREFIX}/fence", json={"epoch": 3}, headers=engine)
    assert answer.json() == {"success": True, "code": "OK", "epoch": 3}
    for epoch, code in ((1_004, "EPOCH_TOO_FAR"), (2, "STALE_EPOCH"), (9_007_199_254_740_991, "EPOCH_TOO_FAR")):
        answer = await http.post(f"{PREFIX}/fence", json={"epoch": epoch}, headers=engine)
        assert answer.json() == {"success": True, "code": code, "epoch": 3}
        body = {"user_id": new_id(), "asset": "USDT", "amount": "1", "order_id": new_id(), "epoch": epoch}
        answer = await http.post(f"{PREFIX}/reserve", json=body, headers=engine)
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, code)
    for wrong in (-1, 2**63, 2**70, "3", 1.5, None):
        answer = await http.post(f"{PREFIX}/fence", json={"epoch": wrong}, headers=engine)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "INVALID_REQUEST"), wrong
    user = await funded(http, "USDT", "10")
    body = {"user_id": user, "asset": "USDT", "amount": "1", "order_id": new_id()}
    warn_of_service.cache_clear()
    capsys.readouterr()
    assert (await ask(http, "/reserve", **body))[0] == 200
    assert "named_epoch" not in capsys.readouterr().out
    for _ in range(2):
        assert (await ask(http, "/reserve", **body | {"order_id": new_id(), "epoch": 3}))[0] == 200
    assert capsys.readouterr().out.count("service_token_named_epoch") == 1
    answer = await http.post(f"{PREFIX}/deposit", json={
        "user_id": user, "asset": "USDT", "amount": "1", "operation_id": new_id()}, headers=engine)  # fmt: skip
    assert answer.status_code == 200, "what a service may, an engine may"
    trader = {"Authorization": f"Bearer {token_of(TRADER)}"}
    assert (await http.post(f"{PREFIX}/fence", json={"epoch": 4}, headers=trader)).status_code == 403
