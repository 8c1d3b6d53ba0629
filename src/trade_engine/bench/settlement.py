"""`trade-engine bench settlement`: how fast trades settle in the ledger, in process and through the wallet service.

Each trade is between two of many users, reserved for beforehand; what is timed is the wallet's settle call alone, in
batches, by so many tasks at once.  The service is a process of its own on the same database.
"""

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import asyncpg

from trade_engine.bench.errors import BenchError
from trade_engine.bench.own_server import free_port
from trade_engine.bootstrap.wallet import make_wallet
from trade_engine.config import load_config
from trade_engine.domain.scale import UNIT
from trade_engine.storage.embedded import EmbeddedPostgres, EmbeddedSettings
from trade_engine.storage.migrate import load_migrations, up
from trade_engine.storage.pool import PoolSettings, close_pool, open_pool
from trade_engine.wallet.audit import PostgresLedger
from trade_engine.wallet.port import Reserve, SettleTrade, Wallet

_FUNDS: Final = 10**9 * UNIT
_RESERVE_BATCH: Final = 200
_WARM_UP: Final = 200


async def run_settlement_benchmark(folder: Path, *, trades: int, users: int, batch: int, tasks: int, seed: int) -> Any:
    """Measure on a private PostgreSQL in ``folder``: the figures."""
    database = EmbeddedPostgres(folder / "data", EmbeddedSettings())
    url = await database.start()
    try:
        connection = await asyncpg.connect(url)
        await up(connection, load_migrations())
        await connection.close()
        pool = await open_pool(url, PoolSettings(max_open=8))
        try:
            ledger = PostgresLedger(pool, reserve_timeout_s=30, timeout_s=30)
            rng = random.Random(seed)
            ids = [str(uuid.UUID(int=rng.getrandbits(128), version=4)) for _ in range(users)]
            for user in ids:
                for asset in ("BTC", "USDT"):
                    await ledger.deposit(user, asset, _FUNDS, str(uuid.uuid4()))
            await _settle(ledger, await _prepared(ledger, rng, ids, _WARM_UP), batch, tasks)
            took, calls = await _settle(ledger, await _prepared(ledger, rng, ids, trades), batch, tasks)
            async with _service(url, folder) as remote:
                await _settle(remote, await _prepared(ledger, rng, ids, _WARM_UP), batch, tasks)
                http_took, http_calls = await _settle(remote, await _prepared(ledger, rng, ids, trades), batch, tasks)
                single_trades = await _prepared(ledger, rng, ids, max(100, trades // 20))
                _, single_calls = await _settle(remote, single_trades, 1, 1)
            differences = [str(difference) for difference in await ledger.audit()]
        finally:
            await close_pool(pool)
    finally:
        await database.stop()
    return {
        "trades_per_s": round(trades / took, 1),
        "p99_ms": _p99(calls),
        "http_trades_per_s": round(trades / http_took, 1),
        "settle_p99_ms": _p99(http_calls),
        "settle_single_p99_ms": _p99(single_calls),
        "trades": trades,
        "batch_size": batch,
        "tasks": tasks,
        "users": users,
        "seed": seed,
        "differences": differences,
    }


async def _prepared(ledger: PostgresLedger, rng: random.Random, users: Sequence[str], count: int) -> list[SettleTrade]:
    """Trades with everything reserved that they need."""
    trades = [_trade(rng, users) for _ in range(count)]
    for at in range(0, count, _RESERVE_BATCH):
        reserves = []
        for trade in trades[at : at + _RESERVE_BATCH]:
            need = trade.notional + trade.buyer_fee
            reserves.append(Reserve(trade.buyer_user_id, "USDT", need, trade.buyer_order_id, trade.buyer_order_id))
            reserves.append(
                Reserve(trade.seller_user_id, "BTC", trade.quantity, trade.seller_order_id, trade.seller_order_id)
            )
        for outcome in await ledger.reserve_many(reserves, 1):
            if not outcome.ok:
                raise BenchError(f"preparing: {outcome.code}")
    return trades


def _trade(rng: random.Random, users: Sequence[str]) -> SettleTrade:
    buyer, seller = rng.sample(users, 2)
    quantity, price = rng.randint(1, 1_000) * UNIT // 1_000, rng.randint(100, 60_000) * UNIT
    notional = quantity * price // UNIT
    order, other = str(uuid.uuid4()), str(uuid.uuid4())
    return SettleTrade(
        trade_id=str(uuid.uuid4()),
        buyer_user_id=buyer,
        seller_user_id=seller,
        base_asset="BTC",
        quote_asset="USDT",
        quantity=quantity,
        notional=notional,
        price=price,
        buyer_fee=notional // 1_000,
        seller_fee=notional // 2_000,
        buyer_fee_asset="USDT",
        seller_fee_asset="USDT",
        buyer_order_id=order,
        seller_order_id=other,
    )


async def _settle(wallet: Wallet, trades: Sequence[SettleTrade], batch: int, tasks: int) -> tuple[float, list[float]]:
    """Settle all: seconds it took, milliseconds of each call."""
    batches = iter([trades[at : at + batch] for at in range(0, len(trades), batch)])
    calls: list[float] = []

    async def work() -> None:
        for part in batches:
            sent = time.perf_counter()
            outcomes = await wallet.settle_many(part)
            calls.append((time.perf_counter() - sent) * 1e3)
            refused = [outcome.code for outcome in outcomes if not outcome.ok]
            if refused:
                raise BenchError(f"settling: {refused[0]}")

    started = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(tasks)))
    return time.perf_counter() - started, calls


def _p99(calls: list[float]) -> float:
    return round(sorted(calls)[int(len(calls) * 0.99)], 2)


@asynccontextmanager
async def _service(url: str, folder: Path) -> AsyncIterator[Wallet]:
    """The wallet service as a process of its own, and a client of it."""
    port = free_port()
    secret = uuid.uuid4().hex
    environment = os.environ | {
        "TRADE_ENGINE__WALLET__DATABASE_URL": url,
        "TRADE_ENGINE__AUTH__JWT_SECRET": secret,
        "TRADE_ENGINE__LOGGING__LEVEL": "warning",
    }
    command = [sys.executable, "-m", "trade_engine.cli", "wallet", "--port", str(port), "--data-dir", str(folder)]
    with (folder / "wallet.log").open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)  # noqa: ASYNC220 - once, at start
    flags = {"wallet.mode": "http", "wallet.url": f"http://127.0.0.1:{port}", "auth.jwt_secret": secret}
    try:
        await _until_ready(port, process, folder / "wallet.log")
        remote: Any = make_wallet(load_config(None, flags, {}), None, secret)
        try:
            yield remote
        finally:
            await remote.aclose()
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            await asyncio.to_thread(process.wait, 30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


async def _until_ready(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    def ask() -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=1) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    until = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < until:
        if await asyncio.to_thread(ask):
            return
        await asyncio.sleep(0.05)
    raise BenchError(f"the wallet service did not come up: {log.read_text(errors='replace')[-2000:]}")
