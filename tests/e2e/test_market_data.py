"""Market data is what SQL over orders and trades says: while it runs, after a stop, after kill -9, from nothing."""

import asyncio
import os
import random
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from tests.e2e.conftest import engine_config
from tests.e2e.processes import funded, load, served
from tests.e2e.venue import Trader, Venue
from trade_engine.bootstrap.attached import attached_url
from trade_engine.config import load_config
from trade_engine.domain.enums import Side
from trade_engine.roles.all import TradeEngine
from trade_engine.sequencer.lease import Identity
from trade_engine.sequencer.public_market import PublicMarket
from trade_engine.sequencer.publish import CommittedBatch
from trade_engine.sequencer.statistics import restore_statistics
from trade_engine.sequencer.store.commit import Writer
from trade_engine.sequencer.store.postgres import PostgresStore
from trade_engine.storage.types import AnyConnection

WIDTHS = {"1m": "1 minute", "5m": "5 minutes", "15m": "15 minutes", "1h": "1 hour", "4h": "4 hours", "1d": "1 day"}
#: Made of the others when they are read; a week begins on Monday.
WIDER = {"3m": "3 minutes", "30m": "30 minutes", "2h": "2 hours", "6h": "6 hours", "8h": "8 hours", "12h": "12 hours"}
WIDER |= {"3d": "3 days", "1w": "7 days", "1M": "1 month"}
START = datetime(1970, 1, 1, tzinfo=UTC)


def shown(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


async def pages(http: httpx.AsyncClient, path: str, **params: Any) -> list[list[dict[str, Any]]]:
    """All pages of a list."""
    found = []
    while True:
        answer = await http.get(path, params=params)
        assert answer.status_code == 200, answer.text
        found.append(answer.json()["data"])
        cursor = answer.json()["meta"]["next_cursor"]
        if cursor is None:
            return found
        params["cursor"] = cursor


class Truth:
    """What the tables say of one market (two decimals), in the words of the API."""

    def __init__(self, connection: AnyConnection, symbol: str) -> None:
        self.connection = connection
        self.symbol = symbol
        self.of_market = f"market_id = (SELECT market_id FROM markets WHERE symbol = '{symbol}')"

    async def candles(self, interval: str, now: datetime) -> list[dict[str, Any]]:
        width = (WIDTHS | WIDER)[interval]
        start = (
            f"date_bin('{width}', executed_at, TIMESTAMPTZ '{'1970-01-05Z' if interval == '1w' else '1970-01-01Z'}')"
        )
        if interval == "1M":
            start = "date_trunc('month', executed_at, 'UTC')"
        rows = await self.connection.fetch(
            f"SELECT {start} AS start_at,"
            f" ({start} AT TIME ZONE 'UTC' + INTERVAL '{width}') AT TIME ZONE 'UTC' AS end_at,"
            " round((array_agg(price ORDER BY sequence))[1], 2)::TEXT AS open, round(max(price), 2)::TEXT AS high,"
            " round(min(price), 2)::TEXT AS low, round((array_agg(price ORDER BY sequence DESC))[1], 2)::TEXT AS close,"
            " trim_scale(sum(quantity))::TEXT AS volume, trim_scale(sum(notional))::TEXT AS quote_volume,"
            f" count(*) AS trades FROM trades WHERE {self.of_market} GROUP BY 1, 2 ORDER BY 1"
        )
        return [
            {"symbol": self.symbol, "interval": interval, "open_time": shown(row["start_at"])}
            | {"close_time": shown(row["end_at"]), "closed": row["end_at"] <= now}
            | {name: row[name] for name in ("open", "high", "low", "close", "volume", "quote_volume", "trades")}
            for row in rows
        ]

    async def ticker(self, now: datetime) -> dict[str, Any]:
        row = await self.connection.fetchrow(
            "SELECT round((array_agg(price ORDER BY sequence))[1], 2)::TEXT AS open,"
            " round(max(price), 2)::TEXT AS high, round(min(price), 2)::TEXT AS low,"
            " trim_scale(coalesce(sum(quantity), 0))::TEXT AS volume,"
            " trim_scale(coalesce(sum(notional), 0))::TEXT AS quote_volume, count(*) AS trades FROM trades"
            f" WHERE {self.of_market} AND executed_at >="
            " date_trunc('minute', $1::TIMESTAMPTZ) - INTERVAL '1439 minutes'",
            now,
        )
        assert row is not None
        last = await self.connection.fetchval(
            f"SELECT round(price, 2)::TEXT FROM trades WHERE {self.of_market} ORDER BY sequence DESC LIMIT 1"
        )
        bids, asks = await self.book()
        return {
            "symbol": self.symbol,
            "last_price": last,
            **{f"24h_{name}": row[name] for name in ("open", "high", "low", "volume", "quote_volume", "trades")},
            "best_bid": bids[0][0] if bids else None,
            "best_ask": asks[0][0] if asks else None,
        }

    async def book(self) -> tuple[list[tuple[str, str, int]], list[tuple[str, str, int]]]:
        async def side(name: str, order: str) -> list[tuple[str, str, int]]:
            rows = await self.connection.fetch(
                "SELECT round(price, 2)::TEXT, trim_scale(sum(display_remaining))::TEXT, count(*) FROM orders"
                f" WHERE {self.of_market} AND side = '{name}' AND is_open AND status <> 'PENDING'"
                f" GROUP BY price ORDER BY price {order}"
            )
            return [tuple(row) for row in rows]

        return await side("BUY", "DESC"), await side("SELL", "ASC")

    async def trades(self) -> list[tuple[str, str, str, bool, str]]:
        rows = await self.connection.fetch(
            "SELECT trade_id::TEXT, round(price, 2)::TEXT, trim_scale(quantity)::TEXT, is_buyer_maker, executed_at"
            f" FROM trades WHERE {self.of_market} ORDER BY sequence DESC"
        )
        return [(*row[:4], shown(row["executed_at"])) for row in rows]


async def compare(http: httpx.AsyncClient, connection: AnyConnection, symbol: str, now: datetime) -> dict[str, int]:
    """Everything the API shows of a market against the tables; how many candles there were by interval."""
    truth = Truth(connection, symbol)
    counts = {}
    for interval in WIDTHS | WIDER:
        path = f"/api/v1/markets/{symbol}/candles"
        expected = await truth.candles(interval, now)
        newest = (await http.get(path, params={"interval": interval})).json()["data"]
        assert newest == expected[-500:]
        paged = await pages(http, path, interval=interval, limit=max(3, len(expected) // 7))
        assert [candle for page in reversed(paged) for candle in page] == expected
        counts[interval] = len(expected)
        if len(expected) > 2:
            within = {"start_time": expected[1]["open_time"], "end_time": expected[-1]["open_time"], "limit": 1000}
            assert (await http.get(path, params=within | {"interval": interval})).json()["data"] == expected[1:-1]
    shown_ticker = (await http.get(f"/api/v1/markets/{symbol}/ticker")).json()["data"]
    await asyncio.sleep(0.11)
    assert shown_ticker in (await http.get("/api/v1/tickers")).json()["data"]
    change, percent = (float(shown_ticker.pop(name)) for name in ("change", "change_percent"))
    assert shown_ticker == await truth.ticker(now)
    if opened := float(shown_ticker["24h_open"] or 0):
        assert change == pytest.approx(float(shown_ticker["last_price"]) - opened)
        assert percent == pytest.approx(100 * change / opened, abs=1e-7)
    depth = (await http.get(f"/api/v1/orderbook/{symbol}", params={"depth": 1000})).json()["data"]
    sides = [[(level["price"], level["quantity"], level["num_orders"]) for level in depth[s]] for s in ("bids", "asks")]
    assert tuple(sides) == await truth.book()
    trades = [t for page in await pages(http, "/api/v1/trades", symbol=symbol, limit=499) for t in page]
    names = ("id", "price", "quantity", "is_buyer_maker", "executed_at")
    assert [tuple(trade[name] for name in names) for trade in trades] == await truth.trades()
    return counts


class Flow:
    """Random orders on a clock that the test moves: seconds mostly, hours now and then."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.now_us = time.time_ns() // 1000
        self.prices: dict[str, int] = {}
        self.mine: list[tuple[Trader, str]] = []

    @property
    def now(self) -> datetime:
        return START + timedelta(microseconds=self.now_us)

    def hold_clock(self, engine: TradeEngine) -> None:
        engine.clock._now_us = lambda: self.now_us
        # It jumps by hours, and is right all the same.
        engine.clock._jump_max_us = None

    def order(self, symbol: str) -> dict[str, Any]:
        rng = self.rng
        kind = rng.choice(("LIMIT", "LIMIT", "LIMIT", "LIMIT", "MARKET", "STOP", "STOP_LIMIT"))
        side = rng.choice(("BUY", "SELL"))
        middle = self.prices[symbol] = self.prices.get(symbol, 10_000) + rng.randint(-4, 4)
        body = {"symbol": symbol, "side": side, "type": kind, "quantity": f"{rng.randint(100, 5000) / 1000}"}
        if kind in ("LIMIT", "STOP_LIMIT"):
            cents = middle + rng.randint(-30, 30)
            body["price"] = f"{cents // 100}.{cents % 100:02}"
            body["time_in_force"] = rng.choice(("GTC", "GTC", "DAY", "IOC"))
        if kind in ("STOP", "STOP_LIMIT"):
            cents = middle + rng.choice((-1, 1)) * rng.randint(1, 40)
            body["stop_price"] = f"{cents // 100}.{cents % 100:02}"
        may_hide = kind == "LIMIT" and body["time_in_force"] == "GTC" and float(body["quantity"]) <= 2
        if may_hide and rng.random() < 0.5:
            body["display_quantity"] = "0.1"
        return body

    async def act(self, traders: list[Trader], symbols: list[str]) -> None:
        rng = self.rng
        if self.mine and rng.random() < 0.25:
            trader, order_id = self.mine.pop(rng.randrange(len(self.mine)))
            if rng.random() < 0.6:
                await trader.cancel(order_id)
                return
            change = {"quantity": f"{rng.randint(100, 5000) / 1000}"}
            await trader.http.patch(f"/api/v1/orders/{order_id}", json=change, headers=trader.headers)
            self.mine.append((trader, order_id))
            return
        trader = rng.choice(traders)
        answer = await trader.post(self.order(rng.choice(symbols)))
        assert answer.status_code in (201, 422), answer.text
        if answer.status_code == 201:
            self.mine.append((trader, answer.json()["data"]["order"]["id"]))

    async def run(self, venue: Venue, symbols: list[str], actions: int) -> None:
        funds = {symbol.split("/")[0]: "100000" for symbol in symbols}
        traders = [await venue.trader(USDT="10000000", **funds) for _ in range(8)]
        self.mine = []
        for step in range(actions // 10):
            await asyncio.gather(*(self.act(traders, symbols) for _ in range(10)))
            if step == actions // 20:
                # Whatever is drawn: there are two days.
                self.now_us += 24 * 3_600_000_000
            far = self.rng.random() < 0.05
            self.now_us += self.rng.randint(0, 8 * 3_600_000_000 if far else 40_000_000)


def follow_depth(engine: TradeEngine) -> list[int]:
    """From now on, at each commit, hold every committed book against the core's own; how many were compared."""
    compared = [0]

    class Comparison:
        """A listener after the market data's."""

        def committed(self, batch: CommittedBatch) -> None:
            memory = engine.sequencer.memory
            for touched in batch.markets:
                market_id = touched.market.market_id
                view, book = engine.engine.reader.views[market_id], memory.books.book(market_id)
                for side in Side:
                    assert view.depth.levels(side, 10_000) == [tuple(level) for level in book.depth(side, 10_000)]
                assert view.depth.sequence == memory.bookkeeper.event_sequences[market_id]
                compared[0] += 1

        def rebuilt(self) -> None:
            """Nothing to compare."""

    engine.engine.publisher.add("comparison", Comparison())
    return compared


async def restarted(database_url: str, folder: Path, flow: Flow, check: Callable[[Venue], Awaitable[None]]) -> None:
    """Start an engine on the database, check, and stop it."""
    engine = TradeEngine(engine_config(database_url), folder)
    await engine.start()
    flow.hold_clock(engine)
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{engine.api.port}", timeout=30) as http:
            await check(Venue(http, engine))
    finally:
        await engine.stop()
        await asyncio.sleep(0)


async def test_market_data_is_what_the_tables_say_also_after_restarts(
    venue: Venue, database_url: str, tmp_path: Path, connection: asyncpg.Connection
) -> None:
    seed = int(os.environ.get("TRADE_ENGINE_TEST_SEED", random.randrange(1 << 30)))
    print(f"seed {seed}")
    symbols = [venue.market() for _ in range(3)]
    flow = Flow(seed)
    flow.hold_clock(venue.running)
    compared = follow_depth(venue.running)

    async def check(now: Venue) -> None:
        for symbol in (*symbols, "RCV/USDT"):
            counts = await compare(now.http, connection, symbol, flow.now)
            assert symbol not in symbols or (counts["1m"] > 30 and counts["1d"] > 1), "the flow spans days"

    await flow.run(venue, symbols, 2_000)
    await check(venue)
    assert compared[0] > 200
    stored = await connection.fetchval("SELECT max(last_sequence) FROM candles")
    traded = await connection.fetchval("SELECT max(sequence) FROM trades")
    assert 0 < stored <= traded, "candles were stored while orders came in"
    await venue.running.stop()

    async def trade_on(now: Venue) -> None:
        await check(now)
        compared_again = follow_depth(now.running)
        await flow.run(now, symbols, 300)
        assert compared_again[0] > 30
        await check(now)

    await restarted(database_url, tmp_path, flow, trade_on)
    await connection.execute("TRUNCATE candles")
    await restarted(database_url, tmp_path, flow, trade_on)
    flow.now_us += 24 * 3_600_000_000
    await restarted(database_url, tmp_path, flow, check)


async def test_a_backfill_in_chunks_that_is_cut_short_goes_on_from_there(
    venue: Venue, connection: asyncpg.Connection, database_url: str
) -> None:
    symbols = [venue.market(), venue.market()]
    flow = Flow(random.randrange(1 << 30))
    flow.hold_clock(venue.running)
    await flow.run(venue, symbols, 600)
    kept = venue.running.engine.reader.views
    await venue.running.stop()
    pool = await asyncpg.create_pool(database_url, min_size=1, max_size=1)
    store = PostgresStore(Writer(database_url, Identity("", "")), pool)
    traded = await connection.fetchval("SELECT max(sequence) FROM trades")

    async def rebuilt(chunk: int) -> dict[int, PublicMarket]:
        views = {market_id: PublicMarket(view.market) for market_id, view in kept.items()}
        await restore_statistics(store, views, flow.now_us, chunk)
        return views

    def same(views: dict[int, PublicMarket]) -> None:
        for market_id, view in views.items():
            ours, theirs = view.candles, kept[market_id].candles
            for interval in WIDTHS:
                oldest_us = ours.oldest_us(interval) or 0
                held = theirs.between(interval, oldest_us, 1 << 62, 1 << 30)
                assert ours.between(interval, 0, 1 << 62, 1 << 30) == held
            for ticker in (view.ticker, kept[market_id].ticker):
                ticker.advance(flow.now_us)
            for name in ("open", "high", "low", "volume", "quote_volume", "trades", "last_price"):
                assert getattr(view.ticker, name) == getattr(kept[market_id].ticker, name), name

    for chunk in (1_000_000, 37, 1):
        await connection.execute("TRUNCATE candles")
        same(await rebuilt(chunk))
    assert await connection.fetchval("SELECT max(last_sequence) FROM candles") == traded
    for chunk in (traded // 3, 50):
        await connection.execute("TRUNCATE candles")
        await rebuilt(traded // 2 + 1)
        stored = await connection.fetchval("SELECT max(last_sequence) FROM candles")
        assert 0 < stored < traded, "half of it was stored"
        same(await rebuilt(chunk))
    await pool.close()


async def test_a_candle_closes_when_its_last_trade_is_committed_not_when_its_time_is_over(venue: Venue) -> None:
    symbol = venue.market()
    flow = Flow(1)
    flow.now_us += 120_000_000 - flow.now_us % 60_000_000 - 1
    flow.hold_clock(venue.running)
    alice, bob = await venue.trader(USDT="1000"), await venue.trader(**{symbol.split("/")[0]: "10"})
    await alice.order(symbol, "BUY", "2", "100.00")
    await bob.order(symbol, "SELL", "1", "100.00")

    async def candle() -> tuple[str, bool]:
        (only,) = await alice.get(f"/markets/{symbol}/candles", interval="1m")
        return only["volume"], only["closed"]

    assert await candle() == ("1", False)
    venue.running.failpoints.arm("before_commit", "stall")
    sale = asyncio.create_task(bob.order(symbol, "SELL", "1", "100.00"))
    await asyncio.sleep(0.2)
    flow.now_us += 1
    assert await candle() == ("1", False), "a trade of that minute is under way"
    venue.running.failpoints.disarm("before_commit")
    await sale
    assert await candle() == ("2", True)


def test_market_data_after_kill_9(data_dir: Path) -> None:
    acknowledged: dict[str, int] = {}

    async def checked(port: int, *, empty: bool = False) -> None:
        async with attached_url(load_config(None, None, {}), data_dir) as url:
            connection = await asyncpg.connect(url)
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30) as http:
                for symbol in ("BTC/USDT", "ETH/USDT"):
                    if (second := datetime.now(UTC).second) > 55:
                        await asyncio.sleep(60 - second)  # lest a minute end while we compare
                    counts = await compare(http, connection, symbol, datetime.now(UTC))
                    assert bool(counts["1m"]) == (symbol == "BTC/USDT")
            if empty:
                await connection.execute("TRUNCATE candles")
            await connection.close()

    with served(data_dir) as (port, server):
        tokens = asyncio.run(funded(data_dir, 6))
        asyncio.run(load(port, tokens, acknowledged, 2.5))
        server.kill()
        server.wait(30)
    with served(data_dir) as (port, server):
        asyncio.run(checked(port, empty=True))
        server.kill()
        server.wait(30)
    with served(data_dir) as (port, _):
        asyncio.run(checked(port))
