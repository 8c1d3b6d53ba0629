"""An upgrade as operators do it, under load: drain, migrate, start; clients repeat until they are told that it is done.

The database before it is one of an earlier schema: this version's own, taken back by some migrations with all that was
traded on it, or the one that a release wrote.
"""

import asyncio
import gzip
import signal
import time
import uuid
from pathlib import Path
from typing import Any, Final

import asyncpg
import msgspec
import yaml

from tests.e2e.engines import SECRET, EngineProcess
from tests.fixtures import flow
from trade_engine.domain.scale import UNIT
from trade_engine.edge.auth.tokens import issue_token
from trade_engine.matching.books import new_book
from trade_engine.sequencer.verify import verify
from trade_engine.wallet.audit import PostgresLedger

#: The schema that this version's own database is taken back to.
BEFORE: Final = 19
#: Nothing of the release's database is in this market.
SYMBOL: Final = "IDLE/USDT"
BOUND_S: Final = 120.0


class Upgraded(msgspec.Struct):
    """What an upgrade came to."""

    before: str
    migrations: int
    acknowledged: int
    acknowledged_before: int
    #: Orders whose first answer came after the engine was back.
    repeated: int
    #: From SIGTERM, or from the first refusal, to the first order that is acknowledged again.
    away_s: float
    found_open: int
    wrong: list[str]


class Persistent:
    """Clients who repeat an order under its client order id until they are told what became of it."""

    def __init__(self, engine: EngineProcess) -> None:
        self._engine = engine
        self.users = [str(uuid.uuid4()) for _ in range(4)]
        #: Order ids by client order id, as acknowledged.
        self.acknowledged: dict[str, str] = {}
        self.repeated = 0
        self.contradictions: list[str] = []
        self._ending = False
        self._tasks: list[asyncio.Task[None]] = []

    def begin(self, connections: int) -> None:
        """Place from now on."""
        self._tasks = [asyncio.create_task(self._place(number)) for number in range(connections)]

    async def end(self) -> None:
        """Begin no further order, and wait for the answers to those under way."""
        self._ending = True
        async with asyncio.timeout(BOUND_S):
            await asyncio.gather(*self._tasks)

    async def until(self, more: int) -> None:
        """Wait until so many more are acknowledged."""
        wanted = len(self.acknowledged) + more
        async with asyncio.timeout(BOUND_S):
            while len(self.acknowledged) < wanted:
                await asyncio.sleep(0.01)

    async def _place(self, number: int) -> None:
        user = self.users[number % len(self.users)]
        headers = {"Authorization": f"Bearer {issue_token(SECRET, user)}"}
        for n in range(100_000):
            if self._ending:
                return
            body = {
                "symbol": SYMBOL, "side": "BUY" if (n + number) % 2 else "SELL", "type": "LIMIT", "quantity": "0.01",
                "price": f"{100 + (n * 7 + number) % 20}.00", "client_order_id": str(uuid.uuid4()),
            }  # fmt: skip
            await self._persist(body, headers)

    async def _persist(self, body: dict[str, Any], headers: dict[str, str]) -> None:
        again = 0
        while True:
            answer = await self._engine.ask("POST", "/api/v1/orders", json=body, headers=headers)
            if answer is not None and answer.status_code < 500:
                break
            again = 1
            await asyncio.sleep(0.1)
        self.repeated += again
        if answer.status_code not in (200, 201):
            self.contradictions.append(answer.text[:300])
            return
        self.acknowledged[body["client_order_id"]] = answer.json()["data"]["order"]["id"]


def engine_of(database_url: str, folder: Path) -> EngineProcess:
    """An engine with the markets of the release's database."""
    engine = EngineProcess(folder, database_url, SERVER__DRAIN_S="0.3")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "options.yaml").write_text(yaml.safe_dump({"matching": {"markets": list(flow.MARKETS)}}))
    engine.environment["TRADE_ENGINE_CONFIG"] = str(folder / "options.yaml")
    return engine


async def _told(engine: EngineProcess, *words: str) -> str:
    """What a command prints; it must be done."""
    done = await asyncio.to_thread(engine.run, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


async def _fund(url: str, users: list[str]) -> None:
    async with asyncpg.create_pool(url, min_size=1, max_size=1) as pool:
        ledger = PostgresLedger(pool, reserve_timeout_s=60, timeout_s=60)
        for user in users:
            for asset in SYMBOL.split("/"):
                assert (await ledger.deposit(user, asset, 1_000_000 * UNIT, str(uuid.uuid4()))).ok


async def _load(url: str, release: Path) -> None:
    # The dump leaves its connection with a search path of its own.
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(gzip.decompress(release.read_bytes()).decode())
    finally:
        await connection.close()


async def _open_orders(connection: asyncpg.Connection) -> dict[str, int]:
    rows = await connection.fetch("SELECT order_id::TEXT AS id, filled_quantity FROM orders WHERE is_open")
    return {row["id"]: row["filled_quantity"] for row in rows}


async def upgrade(url: str, folder: Path, *, release: Path | None, orders: int, connections: int) -> Upgraded:
    """Drain, migrate, start; ``orders`` are placed before and after.

    Args:
        url: a database of this version's schema, or an empty one if ``release`` is given: the file of one's dump.
    """
    engine = engine_of(url, folder)
    clients = Persistent(engine)
    connection = await asyncpg.connect(url)
    try:
        if release is None:
            await _fund(url, clients.users)
            await engine.start().ready()
            clients.begin(connections)
            await clients.until(orders)
            away_s = time.monotonic()
            engine.signal(signal.SIGTERM)
            assert await asyncio.to_thread(engine.ended) == 0, engine.log
            await _told(engine, "migrate", "down", "--to", str(BEFORE), "--yes")
        else:
            await _load(url, release)
            clients.begin(connections)
            away_s = time.monotonic()
        before, found = len(clients.acknowledged), await _open_orders(connection)
        version = await connection.fetchval("SELECT max(version) FROM schema_migrations")

        engine.start()
        refused = await asyncio.to_thread(engine.ended)
        assert refused == 1, f"it started on the schema {version}: {engine.log}"
        await _told(engine, "migrate", "up")
        if release is not None:
            await _fund(url, clients.users)
        kept = await _open_orders(connection)
        await engine.start().ready()
        await clients.until(1)
        away_s = time.monotonic() - away_s
        await clients.until(orders)
        await clients.end()
        await _settled(connection)
        engine.stop()
        return Upgraded(
            before=f"schema {version}" if release is None else release.name.removesuffix(".sql.gz"),
            migrations=await connection.fetchval("SELECT max(version) FROM schema_migrations") - version,
            acknowledged=len(clients.acknowledged), acknowledged_before=before, repeated=clients.repeated,
            away_s=round(away_s, 1), found_open=len(found),
            wrong=[
                *clients.contradictions, *(["the migration changed open orders"] if kept != found else []),
                *await _lost(connection, clients, found),
            ],
        )  # fmt: skip
    finally:
        engine.stop()
        await connection.close()


async def _settled(connection: asyncpg.Connection) -> None:
    sql = "SELECT count(*) FROM settlement_instructions WHERE status <> 'FAILED'"
    async with asyncio.timeout(BOUND_S):
        while await connection.fetchval(sql):
            await asyncio.sleep(0.05)


async def _lost(connection: asyncpg.Connection, clients: Persistent, found: dict[str, int]) -> list[str]:
    """What an acknowledged order, one that was open before, or the journal has to complain of."""
    wrong = [str(difference) for difference in (await verify(connection, new_book)).differences]
    rows = await connection.fetch("SELECT order_id::TEXT AS id, client_order_id, status, filled_quantity FROM orders")
    stored = {row["client_order_id"]: row["id"] for row in rows}
    missing = [name for name, order in clients.acknowledged.items() if stored.get(name) != order]
    if missing:
        wrong.append(f"{len(missing)} acknowledged orders are not stored as told")
    if len([row for row in rows if row["client_order_id"] in clients.acknowledged]) != len(clients.acknowledged):
        wrong.append("an order was carried out twice")
    now = {row["id"]: row for row in rows}
    for order_id, filled in found.items():
        # Their own end may have come; nothing else may have.
        if order_id not in now or now[order_id]["status"] in {"CANCELLED", "REJECTED"}:
            wrong.append(f"order {order_id}, open before, is {dict(now.get(order_id, {}))}")
        elif now[order_id]["filled_quantity"] < filled:
            wrong.append(f"order {order_id} has lost fills")
    return wrong
