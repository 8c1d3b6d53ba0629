"""A month of orders and trades is made through the engine, archived while orders go on, and restored: figures.

    .venv/bin/python -m bench.archive_month --orders 100000

Half of the orders rest, each of the others trades with two of them, so there are as many trades as orders.  The month
is far enough back that its orders may be archived, too.  All of it on a private PostgreSQL in a temporary folder.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
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


def order(user: str, side: Side, quantity: str) -> PlaceOrder:
    return PlaceOrder(
        user_id=user, symbol=flow.QUOTED, side=side, type=OrderType.LIMIT, quantity=parse_units(quantity),
        price=parse_units("100.00"),
    )  # fmt: skip


async def fill(url: str, folder: Path, orders: int, month: datetime) -> None:
    """A month of orders: every day the same, and all are filled."""
    engine = flow.engine_of(url, folder)
    offset_us = 0
    engine.clock = Clock(lambda: wall_clock_us() + offset_us)
    admin = await asyncpg.connect(url)

    async def jump(to: datetime) -> None:
        nonlocal offset_us
        async with asyncio.timeout(600):
            while await admin.fetchval("SELECT EXISTS (SELECT FROM settlement_instructions)"):
                await asyncio.sleep(0.05)
        offset_us = round(to.timestamp() * 1e6) - wall_clock_us()
        for table in ("wallet.ledger_entries", "wallet.reservations"):
            shift = f"now() + INTERVAL '{offset_us} microseconds'"
            await admin.execute(f"ALTER TABLE {table} ALTER created_at SET DEFAULT {shift}")

    await admin.execute("SELECT create_partitions(1, 32, $1)", month)
    await jump(month + timedelta(hours=9))
    users = [f"00000000-0000-7000-8000-{n:012x}" for n in range(0x1000, 0x1040)]
    async with flow.desk(engine) as desk:
        for user in users:
            assert (await engine.wallet.deposit(user, "USDT", 10**9 * UNIT, user)).ok
            assert (await engine.wallet.deposit(user, "AAA", 10**8 * UNIT, f"1{user[1:]}")).ok
        trading = engine.engine.trading
        gate = asyncio.Semaphore(AT_ONCE)

        async def place(number: int, side: Side, quantity: str) -> None:
            async with gate:
                await trading.place(order(users[number % len(users)], side, quantity))

        for day in range(28):
            await jump(month + day * DAY + timedelta(hours=9, minutes=1 if not day else 0))
            half = orders // 28 // 2
            for first in range(0, half, CHUNK):
                size = min(CHUNK, half - first)
                await asyncio.gather(*(place(2 * n, Side.SELL, "0.02") for n in range(size)))
                await trading.place(order(users[1], Side.BUY, "0.01"))
                await asyncio.gather(*(place(2 * n + 1, Side.BUY, "0.02") for n in range(size - 1)))
                await trading.place(order(users[1], Side.BUY, "0.01"))
            print(f"day {day + 1}", file=sys.stderr)
        await jump(month + 28 * DAY + timedelta(hours=9))
        await desk.candles_stored()
    for table in ("wallet.ledger_entries", "wallet.reservations"):
        await admin.execute(f"ALTER TABLE {table} ALTER created_at SET DEFAULT now()")
    await admin.execute("VACUUM ANALYZE")
    await admin.close()


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
    """What was measured; each is told at once on standard error, so that a run that fails late is not for nothing."""

    def __setitem__(self, name: str, value: object) -> None:
        super().__setitem__(name, value)
        print(json.dumps({name: value}), file=sys.stderr, flush=True)

    def add(self, **more: object) -> None:
        """Several."""
        for name, value in more.items():
            self[name] = value


async def measure(folder: Path, orders: int) -> dict:
    database = EmbeddedPostgres(folder / "data", EmbeddedSettings(shared_buffers_mb=512))
    url = await database.start()
    try:
        connection = await asyncpg.connect(url)
        await up(connection, load_migrations())
        month = (datetime.now(UTC) - timedelta(days=300)).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        edge = (month + timedelta(days=32)).replace(day=1) + timedelta(days=181)
        began = time.perf_counter()
        await fill(url, folder, orders, month)
        figures = Figures()
        figures["filled_s"] = round(time.perf_counter() - began)
        counts = (
            "SELECT (SELECT count(*) FROM orders), (SELECT count(*) FROM trades), pg_database_size(current_database())"
        )
        figures["orders"], figures["trades"], figures["database_bytes"] = await connection.fetchrow(counts)
        report, figures["verify_before_s"] = await command(url, "verify")
        figures["verify_before"] = not report["differences"]
        stop = asyncio.Event()
        trading = asyncio.create_task(trade_on(url, folder, stop))
        await asyncio.sleep(5)
        files = ("--folder", str(folder / "files"))
        done, figures["archive_s"] = await command(url, "partitions", "archive", "--before", f"{edge:%Y-%m-%d}", *files)
        stop.set()
        figures["meanwhile"] = await trading
        assert not done["kept"], done["kept"]
        figures.add(archived_rows=done["rows"], archived_bytes=done["bytes"], files=len(done["files"]))
        largest = max(done["files"], key=lambda file: file["rows"])
        figures["largest"] = largest
        left = await connection.fetchrow(counts)
        figures.add(orders_left=left[0], trades_left=left[1], database_bytes_left=left[2])
        report, figures["verify_after_s"] = await command(url, "verify", "--archive", *files)
        figures["verify_after"] = not report["differences"]
        restored, figures["restore_s"] = await command(url, "partitions", "restore", "--all", *files)
        again = await connection.fetchrow(counts)
        moved = figures["meanwhile"]["orders"]
        figures["restored"] = restored["rows"] == done["rows"] and again[0] - moved == figures["orders"]
        report, figures["verify_from_genesis_s"] = await command(url, "verify", "--from", "genesis")
        figures["verify_from_genesis"] = not report["differences"]
        await connection.close()
        return figures
    finally:
        await database.stop()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--orders", type=int, default=100_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="te-archive-") as name:
        Path(name).chmod(0o755)
        print(json.dumps(asyncio.run(measure(Path(name), arguments.orders)), indent=1))


if __name__ == "__main__":
    main()
