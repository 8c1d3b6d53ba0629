"""A month of orders and trades is made through the engine, archived while orders go on, and restored: figures.

    .venv/bin/python -m bench.archive_month --folder /var/tmp/month --orders 100000

Half of the orders rest, each of the others trades with two of them, so there are as many trades as orders.  The month
is far enough back that its orders may be archived, too.  All of it on a private PostgreSQL in a folder that stays, and
in steps that may be asked for one by one (``--step``); each ends in figures, which are added to ``figures.json`` there.
Filling stops after ``--for`` seconds at the end of a day, and goes on when it is asked for again.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg

from tests.fixtures import flow
from trade_engine.domain.enums import OrderType, Side
from trade_engine.domain.orders import PlaceOrder
from trade_engine.domain.scale import UNIT, parse_units
from trade_engine.sequencer.clock import Clock, wall_clock_us
from trade_engine.storage.embedded import EmbeddedPostgres, EmbeddedSettings
from trade_engine.storage.migrate import load_migrations, up

AT_ONCE = 256
CHUNK = 500
DAY = timedelta(days=1)
DAYS = 28


def order(user: str, side: Side, quantity: str) -> PlaceOrder:
    return PlaceOrder(
        user_id=user, symbol=flow.QUOTED, side=side, type=OrderType.LIMIT, quantity=parse_units(quantity),
        price=parse_units("100.00"),
    )  # fmt: skip


class Calendar:
    """The time that engine and ledger go by, set back."""

    def __init__(self, admin: asyncpg.Connection) -> None:
        self._admin = admin
        self._offset_us = 0

    def now_us(self) -> int:
        return wall_clock_us() + self._offset_us

    async def jump(self, to: datetime) -> None:
        """Have it be another time, once all is settled."""
        async with asyncio.timeout(600):
            while await self._admin.fetchval("SELECT EXISTS (SELECT FROM settlement_instructions)"):
                await asyncio.sleep(0.05)
        self._offset_us = round(to.timestamp() * 1e6) - wall_clock_us()
        await self._ledger_by(f"now() + INTERVAL '{self._offset_us} microseconds'")

    async def back(self) -> None:
        """The ledger goes by the clock again."""
        await self._ledger_by("now()")

    async def _ledger_by(self, moment: str) -> None:
        for table in ("wallet.ledger_entries", "wallet.reservations"):
            await self._admin.execute(f"ALTER TABLE {table} ALTER created_at SET DEFAULT {moment}")


async def fill(run: "Run") -> None:
    """A month of orders: every day the same, and all are filled; days that are there already are passed over."""
    engine = flow.engine_of(run.url, run.folder)
    calendar = Calendar(run.connection)
    engine.clock = Clock(calendar.now_us)
    began = time.perf_counter()
    await run.connection.execute("SELECT create_partitions(1, 32, $1)", run.month)
    days = run.figures.get("days", 0)
    await calendar.jump(run.month + days * DAY + timedelta(hours=8))
    users = [f"00000000-0000-7000-8000-{n:012x}" for n in range(0x1000, 0x1040)]
    async with flow.desk(engine) as desk:
        for user in () if days else users:
            assert (await engine.wallet.deposit(user, "USDT", 10**9 * UNIT, user)).ok
            assert (await engine.wallet.deposit(user, "AAA", 10**8 * UNIT, f"1{user[1:]}")).ok
        trading = engine.engine.trading
        gate = asyncio.Semaphore(AT_ONCE)

        async def place(number: int, side: Side, quantity: str) -> None:
            async with gate:
                await trading.place(order(users[number % len(users)], side, quantity))

        while days < DAYS and time.perf_counter() - began < run.seconds:
            await calendar.jump(run.month + days * DAY + timedelta(hours=9))
            half = run.orders // DAYS // 2
            for first in range(0, half, CHUNK):
                size = min(CHUNK, half - first)
                await asyncio.gather(*(place(2 * n, Side.SELL, "0.02") for n in range(size)))
                await trading.place(order(users[1], Side.BUY, "0.01"))
                await asyncio.gather(*(place(2 * n + 1, Side.BUY, "0.02") for n in range(size - 1)))
                await trading.place(order(users[1], Side.BUY, "0.01"))
            days += 1
        await calendar.jump(run.month + days * DAY + timedelta(hours=7))
        await desk.candles_stored()
    await calendar.back()
    run.figures.add(days=days, fill_s=round(run.figures.get("fill_s", 0) + time.perf_counter() - began))
    if days == DAYS:
        await run.connection.execute("VACUUM ANALYZE")
        run.figures["orders"], run.figures["trades"], run.figures["database_bytes"] = await run.counts()


async def command(url: str, *arguments: str) -> tuple[dict, float]:
    began = time.perf_counter()
    environment = {"TRADE_ENGINE__DATABASE__URL": url, "PATH": "/usr/bin:/bin"}
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "trade_engine.cli", *arguments, "--json", env=environment, stdout=subprocess.PIPE
    )
    output, _ = await child.communicate()
    assert not child.returncode, output
    return json.loads(output), round(time.perf_counter() - began, 1)


async def trade_on(url: str, folder: Path, stop: asyncio.Event) -> dict:
    """Orders of today, one after the other, with their times."""
    took: list[float] = []
    async with flow.desk(flow.engine_of(url, folder)) as desk:
        while not stop.is_set():
            began = time.perf_counter()
            user, side = ("1001", Side.BUY) if len(took) % 2 else ("1000", Side.SELL)
            await desk.engine.engine.trading.place(order(f"00000000-0000-7000-8000-00000000{user}", side, "0.01"))
            took.append(time.perf_counter() - began)
            await asyncio.sleep(0.01)
        await desk.settled()
    took.sort()
    return {
        "orders": len(took), "p50_ms": round(took[len(took) // 2] * 1e3, 1),
        "p99_ms": round(took[len(took) * 99 // 100] * 1e3, 1), "max_ms": round(took[-1] * 1e3, 1),
    }  # fmt: skip


class Figures(dict):
    """What was measured, kept in a file; each is told at once on standard error."""

    def __init__(self, path: Path) -> None:
        super().__init__(json.loads(path.read_text()) if path.exists() else {})
        self._path = path

    def __setitem__(self, name: str, value: object) -> None:
        super().__setitem__(name, value)
        self._path.write_text(json.dumps(self, indent=1))
        print(json.dumps({name: value}), file=sys.stderr, flush=True)

    def add(self, **more: object) -> None:
        """Several."""
        for name, value in more.items():
            self[name] = value


class Run:
    """One step on the database of a folder."""

    def __init__(self, folder: Path, orders: int, seconds: float, url: str, connection: asyncpg.Connection) -> None:
        self.folder, self.orders, self.seconds, self.url, self.connection = folder, orders, seconds, url, connection
        self.figures = Figures(folder / "figures.json")
        self.files = ("--folder", str(folder / "files"))
        now = datetime.now(UTC)
        self.month = (now - timedelta(days=300)).replace(day=1, hour=0, minute=0, second=0, microsecond=0)

    async def counts(self) -> list[int]:
        """Orders, trades, bytes of the database."""
        query = (
            "SELECT (SELECT count(*) FROM orders), (SELECT count(*) FROM trades), pg_database_size(current_database())"
        )
        return list(await self.connection.fetchrow(query))

    async def verify(self, name: str, *arguments: str) -> None:
        """Verify, and note how long it took and whether anything was found."""
        report, took_s = await command(self.url, "verify", *arguments)
        self.figures.add(**{name: not report["differences"], f"{name}_s": took_s})


async def verify_before(run: Run) -> None:
    await run.verify("verify_before")


async def archive(run: Run) -> None:
    stop = asyncio.Event()
    trading = asyncio.create_task(trade_on(run.url, run.folder, stop))
    await asyncio.sleep(5)
    edge = (run.month + timedelta(days=32)).replace(day=1) + timedelta(days=181)
    done, took_s = await command(
        run.url, "partitions", "archive", "--before", f"{edge:%Y-%m-%d}", *run.files
    )  # fmt: skip
    run.figures["archive_s"] = took_s
    stop.set()
    run.figures["meanwhile"] = await trading
    assert not done["kept"], done["kept"]
    run.figures.add(archived_rows=done["rows"], archived_bytes=done["bytes"], files=len(done["files"]))
    run.figures["largest"] = max(done["files"], key=lambda file: file["rows"])
    left = await run.counts()
    run.figures.add(orders_left=left[0], trades_left=left[1], database_bytes_left=left[2])


async def verify_after(run: Run) -> None:
    await run.verify("verify_after", "--archive", *run.files)


async def restore(run: Run) -> None:
    restored, run.figures["restore_s"] = await command(run.url, "partitions", "restore", "--all", *run.files)
    again = await run.counts()
    moved = run.figures["meanwhile"]["orders"]
    run.figures["restored"] = (
        restored["rows"] == run.figures["archived_rows"] and again[0] - moved == run.figures["orders"]
    )


async def verify_from_genesis(run: Run) -> None:
    await run.verify("verify_from_genesis", "--from", "genesis")


async def reconcile(run: Run) -> None:
    report, took_s = await command(run.url, "reconcile")
    run.figures.add(reconcile=report["ok"], reconcile_s=took_s)


STEPS = {
    "fill": fill, "verify": verify_before, "archive": archive, "verify-after": verify_after, "restore": restore,
    "genesis": verify_from_genesis, "reconcile": reconcile,
}  # fmt: skip


async def measure(folder: Path, orders: int, seconds: float, steps: list[str]) -> dict:
    database = EmbeddedPostgres(folder / "data", EmbeddedSettings(shared_buffers_mb=512))
    url = await database.start()
    try:
        connection = await asyncpg.connect(url)
        await up(connection, load_migrations())
        run = Run(folder, orders, seconds, url, connection)
        for step in steps:
            await STEPS[step](run)
        await connection.close()
        return run.figures
    finally:
        await database.stop()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True, help="of the database, the files and the figures")
    parser.add_argument("--orders", type=int, default=100_000)
    parser.add_argument("--for", dest="seconds", type=float, default=1e9, help="seconds to fill, at most")
    parser.add_argument("--step", choices=STEPS, action="append", help="default: all of them, in this order")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    arguments.folder.chmod(0o755)
    steps = arguments.step or list(STEPS)
    print(json.dumps(asyncio.run(measure(arguments.folder, arguments.orders, arguments.seconds, steps)), indent=1))


if __name__ == "__main__":
    main()
