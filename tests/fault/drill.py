"""The fault drill: an engine, a wallet service on a database of its own, and a misbehaving proxy between them.

Everything is real and in this process, on loopback; load comes over REST.  Each case returns figures and what is wrong.
"""

import asyncio
import random
import statistics
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import asyncpg
import msgspec

from tests.e2e.venue import markets_yaml
from tests.fault.proxy import FaultProxy
from tests.harness.wallet_service import SECRET, wallet_service
from trade_engine.bench.http_load import HttpConnection, build_request, connect
from trade_engine.config import load_config
from trade_engine.domain.scale import UNIT
from trade_engine.roles.all import TradeEngine
from trade_engine.wallet.audit import PostgresLedger
from trade_engine.wallet.breaker import CircuitBreaker
from trade_engine.wallet.http_client import HttpWallet
from trade_engine.wallet.port import BreakerState, Release, Reserve

SYMBOL: Final = "T01/USDT"
#: How long the engine waits for the wallet to reserve.
_RESERVE_MS: Final = 500
_LEFT: Final = "SELECT count(*) FROM settlement_instructions WHERE status <> 'FAILED'"
_DEAD: Final = "SELECT instruction_id, last_reason FROM settlement_instructions WHERE status = 'FAILED'"


class Case(msgspec.Struct):
    """The outcome of one case."""

    name: str
    figures: dict[str, Any]
    wrong: list[str]

    @property
    def line(self) -> str:
        """For people."""
        verdict = "ok  " if not self.wrong else "FAIL"
        figures = ", ".join(f"{key} {value}" for key, value in self.figures.items())
        return f"{verdict} {self.name}: {figures}" + "".join(f"\n     {text}" for text in self.wrong)


class Link:
    """A connection to the engine that is opened when it is needed: one that was idle too long has been closed."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._connection: HttpConnection | None = None

    async def request(self, request: bytes) -> tuple[int, bytes]:
        """Send one request; its status and body."""
        if self._connection is None or self._connection.closed:
            self._connection = await connect("127.0.0.1", self._port)
        return await self._connection.request(request)

    def close(self) -> None:
        """Close it."""
        if self._connection is not None:
            self._connection.close()


class Drill:
    """A running world to be mistreated."""

    def __init__(self, engine: TradeEngine, proxy: FaultProxy, ledger: PostgresLedger, users: int, seed: int) -> None:
        self.engine = engine
        self.proxy = proxy
        self.ledger = ledger
        self.rng = random.Random(seed)
        self.users = [str(uuid.UUID(int=self.rng.getrandbits(128), version=4)) for _ in range(users)]
        self.tokens = [engine.issue_token(user) for user in self.users]
        self.placed: set[str] = set()
        self.opens: list[tuple[str, int]] = []
        #: How long each answer took that was refused because the breaker was open.
        self.refusals_ms: list[float] = []

    def link(self) -> Link:
        """A way to the engine."""
        return Link(self.engine.api.port)

    async def fund(self) -> None:
        """Give everybody enough, past the proxy."""
        for user in self.users:
            for asset in ("USDT", "T01"):
                assert (await self.ledger.deposit(user, asset, 10**9 * UNIT, str(uuid.uuid4()))).ok

    async def load(self, orders: int, connections: int, until: Callable[[], bool] | None = None) -> Counter[str]:
        """Send so many orders (and cancels besides), or until told; what was answered."""
        tally: Counter[str] = Counter()
        links = [self.link() for _ in range(connections)]
        await asyncio.gather(*(self._drive(link, orders, tally, until) for link in links))
        for link in links:
            link.close()
        return tally

    async def _drive(self, link: Link, orders: int, tally: Counter[str], until: Callable[[], bool] | None) -> None:
        while tally["orders"] < orders and not (until is not None and until()):
            if self.opens and self.rng.random() < 0.2:
                order_id, user = self.opens.pop(self.rng.randrange(len(self.opens)))
                status, _ = await link.request(build_request("DELETE", f"/api/v1/orders/{order_id}", self.tokens[user]))
                tally["cancels" if status in (200, 409) else f"cancel answered {status}"] += 1
                continue
            tally["orders"] += 1
            await self.order(link, tally)

    async def order(self, link: Link, tally: Counter[str]) -> None:
        """One limit order around 100.00."""
        user, buy = self.rng.randrange(len(self.users)), self.rng.random() < 0.5
        price = 10_000 + self.rng.randint(-60, 20) * (1 if buy else -1)
        body = (
            f'{{"symbol":"{SYMBOL}","side":"{"BUY" if buy else "SELL"}","type":"LIMIT",'
            f'"quantity":"0.{self.rng.randint(1, 999):03}","price":"{price // 100}.{price % 100:02}"}}'
        )
        was_open, opened = self.engine_breaker_open, self.breaker.opened
        sent = time.perf_counter()
        status, content = await link.request(build_request("POST", "/api/v1/orders", self.tokens[user], body.encode()))
        answer = msgspec.json.decode(content)
        if status == 201:
            order = answer["data"]["order"]
            self.placed.add(order["id"])
            tally["accepted"] += 1
            if order["status"] in ("OPEN", "PARTIALLY_FILLED"):
                self.opens.append((order["id"], user))
            return
        code = answer["error"]["code"]
        tally[code] += 1
        if was_open and self.breaker.opened == opened and self.engine_breaker_open and code == "WALLET_UNAVAILABLE":
            tally["refused while open"] += 1
            self.refusals_ms.append((time.perf_counter() - sent) * 1e3)
            await asyncio.sleep(0.05)

    @property
    def engine_breaker_open(self) -> bool:
        """Whether the engine's client sends nothing at this moment."""
        return self.breaker.state is BreakerState.OPEN

    @property
    def breaker(self) -> CircuitBreaker:
        """The engine's client's."""
        assert isinstance(self.engine.wallet, HttpWallet)
        return self.engine.wallet.breaker

    async def drained(self, within_s: float) -> bool:
        """Wait until nothing is left but dead letters."""
        until = time.monotonic() + within_s
        while await self.engine.pool.fetchval(_LEFT):
            if time.monotonic() > until:
                return False
            await asyncio.sleep(0.05)
        return True

    async def retry_dead_letters(self) -> int:
        """Give every dead letter its attempts back; how many there were."""
        dead = await self.engine.pool.fetch(_DEAD)
        for row in dead:
            await self.engine.dead_letters.retry(row["instruction_id"], "drill", "the faults have ended")
        return len(dead)

    async def agreement(self) -> list[str]:
        """What is wrong once the faults have ended: orders, trades, ledger."""
        wrong = []
        stored = {row[0] for row in await self.engine.pool.fetch("SELECT order_id::TEXT FROM orders")}
        if self.placed != stored:
            wrong.append(f"{len(self.placed - stored)} orders lost, {len(stored - self.placed)} invented")
        unsettled = await self.engine.pool.fetchval("SELECT count(*) FROM trades WHERE settlement_status <> 'SETTLED'")
        if unsettled:
            wrong.append(f"{unsettled} trades are not settled")
        outcome = await self.engine.reconciler.run(repair=True)
        wrong += [str(difference) for difference in outcome.differences[:10]]
        return wrong


@asynccontextmanager
async def drill_world(
    engine_url: str, wallet_url: str, folder: Path, *, seed: int, users: int, breaker_open_s: float
) -> AsyncIterator[Drill]:
    """Start everything, funded and at peace."""
    async with wallet_service(wallet_url) as port:
        proxy = FaultProxy(port, seed)
        flags: dict[str, Any] = {
            "database.url": engine_url,
            "auth.jwt_secret": SECRET,
            "server.http_port": 0,
            "server.websocket_port": 0,
            "server.metrics_port": 0,
            "database.partitions_months": 1,
            "database.partitions_days": 1,
            "matching.markets": markets_yaml(),
            "rate_limit.orders_per_s": 0,
            "rate_limit.queries_per_s": 0,
            "rate_limit.address_per_s": 0,
            "settlement.worker_pool_size": 4,
            "settlement.retry_backoff_ms": 50,
            "settlement.reconcile_every_s": 0,
            "wallet.mode": "http",
            "wallet.url": f"http://127.0.0.1:{await proxy.start()}",
            "wallet.timeout_ms": 1_000,
            "wallet.reserve_timeout_ms": _RESERVE_MS,
            "wallet.breaker_open_s": breaker_open_s,
        }
        engine = TradeEngine(load_config(None, flags, {}), folder)
        try:
            await engine.start()
            async with asyncpg.create_pool(wallet_url, min_size=1, max_size=12) as pool:
                drill = Drill(engine, proxy, PostgresLedger(pool, reserve_timeout_s=30, timeout_s=30), users, seed)
                await drill.fund()
                yield drill
        finally:
            await engine.stop()
            await proxy.stop()


async def faults(drill: Drill, orders: int, connections: int, rate: float) -> Case:
    """Every kind of fault, mixed, under load; then peace, and everything adds up."""
    drill.proxy.rate = rate
    started = time.monotonic()
    tally = await drill.load(orders, connections)
    took = time.monotonic() - started
    drill.proxy.rate = 0.0
    settled = await drill.drained(120)
    dead = await drill.engine.pool.fetch(_DEAD)
    wrong = [f"dead letter {row[0]} has no reason" for row in dead if not row["last_reason"]]
    retried = await drill.retry_dead_letters()
    settled = await drill.drained(120) and settled
    if not settled:
        wrong.append("settlement did not finish")
    wrong += [f"unexpected answer {key}" for key in tally if key.startswith(("cancel answered", "INTERNAL"))]
    wrong += await drill.agreement()
    trades = await drill.engine.pool.fetchval("SELECT count(*) FROM trades")
    figures = dict(tally) | {"trades": trades, "dead letters retried": retried, "seconds": round(took, 1)}
    return Case("faults under load", figures | {"met": dict(sorted(drill.proxy.met.items()))}, wrong)


async def outage(drill: Drill, seconds: float, connections: int) -> Case:
    """Nobody answers for a while, under load."""
    pool, counts = drill.engine.pool, drill.engine.settlement.counts
    failed_before, refused_before = counts.failed, counts.refused
    await drill.load(200, connections)
    mine, drill.opens = drill.opens[:50], drill.opens[50:]
    over_at = time.monotonic() + seconds
    drill.refusals_ms.clear()
    drill.proxy.outage = True
    cancels = {"tried": 0, "slowest_ms": 0.0, "bad": 0}

    async def cancel_meanwhile() -> None:
        await asyncio.sleep(seconds / 3)
        link = drill.link()
        while time.monotonic() < over_at and mine:
            order_id, user = mine.pop()
            sent = time.perf_counter()
            status, _ = await link.request(build_request("DELETE", f"/api/v1/orders/{order_id}", drill.tokens[user]))
            cancels["tried"] += 1
            cancels["bad"] += status not in (200, 409)
            cancels["slowest_ms"] = max(cancels["slowest_ms"], (time.perf_counter() - sent) * 1e3)
        link.close()

    tally, _ = await asyncio.gather(
        drill.load(10**9, connections, lambda: time.monotonic() > over_at), cancel_meanwhile()
    )
    waiting = await pool.fetchval(_LEFT)
    attempts = await pool.fetchval("SELECT coalesce(max(attempts), 0) FROM settlement_instructions")
    drill.proxy.outage = False
    back_at = time.monotonic()
    settled = await drill.drained(90)
    wrong = [] if settled else ["settlement did not finish"]
    if counts.failed > failed_before or counts.refused > refused_before or attempts:
        wrong.append(f"attempts were used: {counts.refused - refused_before}, dead letters {counts.failed}")
    if not tally["refused while open"]:
        wrong.append("the breaker was never seen open")
    usual_ms = statistics.median(drill.refusals_ms or [0.0])
    if usual_ms >= _RESERVE_MS:
        wrong.append(f"a refusal usually took {usual_ms:.0f} ms while the breaker was open: it waited for the wallet")
    if cancels["bad"] or not cancels["tried"]:
        wrong.append(f"cancels during the outage: {cancels}")
    wrong += await drill.agreement()
    figures = {"seconds": seconds, "waited": waiting, "settled after s": round(time.monotonic() - back_at, 1)}
    figures |= {"refused while open": tally["refused while open"], "cancels": cancels["tried"]}
    figures |= {"refusal ms": round(usual_ms, 1), "slowest refusal ms": round(max(drill.refusals_ms, default=0.0), 1)}
    return Case("outage under load", figures | {"slowest cancel ms": round(cancels["slowest_ms"], 1)}, wrong)


async def permanent_refusal(drill: Drill) -> Case:
    """A trade that the wallet refuses for good is dead-lettered alone; mended and retried, it settles."""
    pool, settlement = drill.engine.pool, drill.engine.settlement
    await settlement.pause()
    before = await pool.fetchval("SELECT coalesce(max(sequence), 0) FROM trades")
    tally: Counter[str] = Counter()
    link = drill.link()
    while await pool.fetchval("SELECT count(*) FROM trades WHERE sequence > $1", before) < 20:
        await drill.order(link, tally)
    link.close()
    # Filled orders hold nothing but what this trade needs, so nothing else is touched by taking it away.
    victim = await pool.fetchrow(
        "SELECT t.trade_id::TEXT, t.buyer_order_id::TEXT, t.buyer_user_id::TEXT,"
        " ((t.notional + t.buyer_fee) * 100000000)::BIGINT AS need FROM trades t"
        " JOIN orders o ON o.order_id = t.buyer_order_id WHERE t.sequence > $1 AND NOT o.is_open"
        " AND (SELECT count(*) FROM trades x WHERE x.buyer_order_id = o.order_id) = 1 LIMIT 1",
        before,
    )
    assert victim is not None, "no order was filled by one trade alone"
    order, user, number = victim["buyer_order_id"], victim["buyer_user_id"], str(uuid.uuid4())
    need = victim["need"]
    [taken] = await drill.ledger.release_many([Release(order, user, "USDT", need, number)])
    assert taken.ok, taken
    await settlement.resume()
    settled = await drill.drained(30)
    dead = await pool.fetch(_DEAD)
    reasons = [row["last_reason"] for row in dead]
    wrong = [] if settled else ["settlement did not finish"]
    failed = await pool.fetchval("SELECT count(*) FROM trades WHERE settlement_status = 'FAILED'")
    if failed != 1:
        wrong.append(f"{failed} trades failed, not one")
    [again] = await drill.ledger.reserve_many(
        [Reserve(user, "USDT", need, order, str(uuid.uuid4()))], await drill.ledger.current_epoch()
    )
    retried = await drill.retry_dead_letters()
    if not again.ok or not await drill.drained(30):
        wrong.append(f"the mended trade did not settle ({again.code})")
    wrong += await drill.agreement()
    return Case("permanent refusal", {"dead letters": len(dead), "reasons": reasons, "retried": retried}, wrong)
