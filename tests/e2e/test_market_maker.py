"""`trade-engine make-market`: bounded, clean at its end, back after the engine's, and switched off when it is gone."""

import asyncio
import json
import os
import random
import signal
import sys
import uuid
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.client.conftest import address, token_of
from tests.e2e.engines import SECRET, EngineProcess
from tests.e2e.venue import Venue
from tests.harness.seeds import seed
from trade_engine.bootstrap.attached import attached_wallet
from trade_engine.client import AsyncClient, Retry
from trade_engine.domain.scale import UNIT
from trade_engine.edge.auth.tokens import issue_token
from trade_engine.market_maker.over_client import MakerTerms, MarketMaker

TERMS = MakerTerms(Decimal("0.002"), Decimal("0.001"), 3, Decimal("0.1"), Decimal("0.4"), switch_s=60, every_s=0.3)


class Maker:
    """The command as a process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    @classmethod
    async def start(cls, url: str, token: str, *words: str) -> "Maker":
        terms = ("--symbol", "BTC/USDT", "--spread", "0.002", "--levels", "3", "--size", "0.1", "--switch", "2")
        more = ("--inventory-limit", "0.4", "--url", url, "--token", token, "--json", *words)
        command = (sys.executable, "-m", "trade_engine.cli", "make-market", *terms, *more)
        pipe = asyncio.subprocess.PIPE
        env = {name: value for name, value in os.environ.items() if not name.startswith("TRADE_ENGINE_")}
        return cls(await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe, env=env))

    async def end(self, number: signal.Signals) -> tuple[int, list[dict[str, Any]], str]:
        """How it ends, what it said, and what it complained of."""
        self.process.send_signal(number)
        return await self.ended()

    async def ended(self) -> tuple[int, list[dict[str, Any]], str]:
        """The same, without being told to."""
        async with asyncio.timeout(30):
            out, err = await self.process.communicate()
        return self.process.returncode or 0, [json.loads(line) for line in out.splitlines()], err.decode()


async def book(client: AsyncClient, bids: int, asks: int, bid: int = 0) -> tuple[list[int], list[int]]:
    """The prices of both sides, once there are so many, and ``bid`` is the best."""
    async with asyncio.timeout(30):
        while True:
            shown = await client.order_book("BTC/USDT")
            if (len(shown.bids), len(shown.asks)) == (bids, asks) and (not bid or shown.bids[0].price == bid):
                return [int(level.price) for level in shown.bids], [int(level.price) for level in shown.asks]
            await asyncio.sleep(0.05)


@pytest.fixture
async def engine(tmp_path: Path, database_url: str) -> AsyncIterator[EngineProcess]:
    process = EngineProcess(tmp_path / "engine", database_url)
    await process.start().ready()
    yield process
    process.stop()


async def test_the_life_of_a_market_maker(engine: EngineProcess, database_url: str) -> None:
    url = f"http://127.0.0.1:{engine.port}"
    users = str(uuid.uuid4()), str(uuid.uuid4())
    async with attached_wallet(database_url) as wallet:
        for user in users:
            for asset in ("BTC", "USDT"):
                assert (await wallet.deposit(user, asset, 1_000_000 * UNIT, str(uuid.uuid4()))).ok
    token, other = (issue_token(SECRET, user) for user in users)
    async with AsyncClient(url, token=other) as taker:
        maker = await Maker.start(url, token)
        code, _, said = await maker.ended()
        assert (code, "no price yet" in said) == (2, True), said

        maker = await Maker.start(url, token, "--price", "50000")
        assert await book(taker, 3, 3) == ([49950, 49900, 49850], [50050, 50100, 50150])
        # It has sold half of what it may: it asks more, and bids more.
        await taker.place("BTC/USDT", "BUY", "0.2", 50100)
        assert await book(taker, 3, 2, bid=50000) == ([50000, 49950, 49900], [50100, 50150])

        # An engine that dies, and one that comes back: it waits, and quotes again.
        engine.kill()
        await engine.start().ready()
        await book(taker, 3, 2)
        code, told, said = await maker.end(signal.SIGTERM)
        assert (code, said, told[-1]["cancelled"], told[-1]["inventory"]) == (0, "", 5, "-0.2")
        await book(taker, 0, 0)

        # Killed, it cancels nothing; the engine does.
        maker = await Maker.start(url, token, "--price", "50000")
        await book(taker, 3, 3)
        maker.process.kill()
        await maker.process.wait()
        assert len((await taker.order_book("BTC/USDT")).bids) == 3
        await book(taker, 0, 0)


async def test_the_inventory_never_passes_its_limit(venue: Venue) -> None:
    symbol, random_ = venue.market(), random.Random(seed(1604))
    owner = await venue.trader(T01="10", USDT="10000")
    takers = [await venue.trader(T01="100", USDT="100000") for _ in range(2)]
    told: list[str] = []
    async with AsyncClient(address(venue), token=token_of(owner), retry=Retry(deadline_s=5)) as client:
        market = await client.market(symbol)
        held = MarketMaker(client, market, TERMS, lambda: Decimal(1000), lambda event, **_: told.append(event))
        stopping = asyncio.Event()
        running = asyncio.create_task(held.run(stopping))
        filled, reached = Decimal(0), set[Decimal]()
        async with asyncio.timeout(60):
            while len(reached) < 2:
                # In one direction until the limit, then in the other; the maker quotes anew in between, or meanwhile.
                side = "SELL" if TERMS.inventory_limit * -1 in reached else "BUY"
                taker, quantity = random_.choice(takers), str(random_.randint(1, 300) / 1000)
                price = "1010" if side == "BUY" else "990"
                order, _ = await taker.order(symbol, side, quantity, price, time_in_force="IOC")
                filled += Decimal(order["filled_quantity"]) * (-1 if side == "BUY" else 1)
                assert abs(filled) <= TERMS.inventory_limit
                if abs(filled) == TERMS.inventory_limit:
                    reached.add(filled)
        stopping.set()
        await running
        assert held.inventory == filled == TERMS.inventory_limit, "what it holds is what others traded with it"
        assert told.count("quotes") > 3
        # It took its quotes back, and called off the switch.
        assert await venue.book(symbol) == ([], [])
        assert await venue.running.pool.fetchval("SELECT count(*) FROM cancel_timers") == 0
