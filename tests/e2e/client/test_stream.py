"""Streams against the whole engine: channels, orders, books that stay right, and coming back after a cut."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from decimal import Decimal

import pytest

from tests.e2e.client.conftest import address, token_of
from tests.e2e.client.wire import Wire
from tests.e2e.venue import Trader, Venue
from trade_engine.client import (
    ApiError,
    AsyncClient,
    BalancesMessage,
    BookMessage,
    CandleMessage,
    Channel,
    ChannelMessage,
    DepthMessage,
    FillsMessage,
    OrdersMessage,
    OutcomeUnknown,
    Retry,
    Stream,
    TickerMessage,
    TickersMessage,
    TradesMessage,
    TransportError,
)

D = Decimal
PRIVATE: tuple[Channel, ...] = ("orders", "fills", "balances")
QUICK = Retry(deadline_s=10, timeout_s=2, first_pause_s=0.05, longest_pause_s=0.2)


@contextlib.asynccontextmanager
async def streaming(url: str, trader: Trader | None = None) -> AsyncIterator[tuple[AsyncClient, Stream]]:
    token = token_of(trader) if trader else None
    async with AsyncClient(url, token=token, retry=QUICK) as client, client.stream() as stream:
        yield client, stream


async def next_of(stream: Stream, *kinds: type[ChannelMessage]) -> ChannelMessage:
    """The next message of a kind."""
    async with asyncio.timeout(10):
        async for message in stream:
            if isinstance(message, kinds):
                return message
    raise AssertionError("the stream ended")


async def test_every_channel(venue: Venue) -> None:
    trader = await venue.trader(USDT="1000", T01="10")
    async with streaming(address(venue), trader) as (client, stream):
        await stream.subscribe("trades", "T01/USDT")
        await stream.subscribe("ticker", "T01-USDT")
        await stream.subscribe("tickers")
        await stream.subscribe("candles", "T01USDT", interval="1m")
        await stream.subscribe("book", "T01/USDT")
        await stream.subscribe("depth", "T01/USDT", levels=5)
        for channel in PRIVATE:
            await stream.subscribe(channel)
        snapshots = {type(await anext(stream)) for _ in range(9)}
        assert snapshots == {
            TradesMessage, TickerMessage, TickersMessage, CandleMessage, BookMessage, DepthMessage, OrdersMessage,
            FillsMessage, BalancesMessage,
        }  # fmt: skip
        await client.place("T01/USDT", "SELL", 1, 10, self_trade_prevention="NONE")
        await client.place("T01/USDT", "BUY", "0.5", 10, self_trade_prevention="NONE")
        wanted = {
            TradesMessage,
            TickerMessage,
            TickersMessage,
            CandleMessage,
            BookMessage,
            OrdersMessage,
            FillsMessage,
            BalancesMessage,
        }
        got: dict[type, ChannelMessage] = {}
        async with asyncio.timeout(10):
            while not wanted <= set(got):
                message = await anext(stream)
                got[type(message)] = message
        trades, fills, orders = got[TradesMessage], got[FillsMessage], got[OrdersMessage]
        assert isinstance(trades, TradesMessage)
        assert (trades.symbol, [row.price for row in trades.data]) == ("T01/USDT", [D(10)])
        assert isinstance(fills, FillsMessage)
        assert fills.fills[0].quantity == D("0.5")
        assert isinstance(orders, OrdersMessage)
        assert orders.orders[0].symbol == "T01/USDT"
        await stream.unsubscribe("trades", "T01/USDT")
        assert abs((await stream.ping()).timestamp() - (await client.time()).timestamp()) < 60


async def test_orders_over_the_stream(venue: Venue) -> None:
    trader = await venue.trader(USDT="1000")
    async with streaming(address(venue), trader) as (client, stream):
        placed = await stream.place("T01/USDT", "BUY", 1, 10, client_order_id="a")
        assert (placed.order.status, placed.replayed) == ("OPEN", False)
        assert (await stream.place("T01/USDT", "BUY", 1, 10, client_order_id="a")).replayed
        amended = await stream.amend(placed.order.id, price="11")
        assert amended.order.price == 11
        assert (await stream.cancel(placed.order.id)).status == "CANCELLED"
        await stream.place("T01/USDT", "BUY", 1, 10)
        assert await stream.cancel_all("T01/USDT") == 1
        with pytest.raises(ApiError, match="INVALID_PRICE") as caught:
            await stream.place("T01/USDT", "BUY", 1, "10.001")
        assert caught.value.status == 0
        await stream.cancel_on_disconnect()
        left = await stream.place("T01/USDT", "BUY", 1, 10)
    async with AsyncClient(address(venue), token=token_of(trader)) as client, asyncio.timeout(10):
        while (await client.order(left.order.id)).is_open:
            await asyncio.sleep(0.02)


async def assert_same_book(client: AsyncClient, stream: Stream, symbol: str) -> None:
    """Read until the stream's book is that of REST."""
    rest = await client.order_book(symbol, 1000)
    async with asyncio.timeout(10):
        while not (stream.book(symbol).synced and stream.book(symbol).sequence >= rest.sequence):
            await anext(stream)
    book = stream.book(symbol)
    assert [(level.price, level.quantity) for level in rest.bids] == book.bids()
    assert [(level.price, level.quantity) for level in rest.asks] == book.asks()


async def test_a_book_is_kept(venue: Venue) -> None:
    trader = await venue.trader(USDT="100000", T01="1000")
    async with streaming(address(venue), trader) as (client, stream):
        await stream.subscribe("depth", "T01/USDT")
        await next_of(stream, DepthMessage)
        for price in range(20):
            await client.place("T01/USDT", "BUY", 1, 10 + price)
            await client.place("T01/USDT", "SELL", 1, 40 + price)
        await client.place("T01/USDT", "SELL", 5, 25)
        await client.cancel_all()
        await client.place("T01/USDT", "BUY", "0.5", 10)
        await assert_same_book(client, stream, "T01/USDT")
        assert stream.book("t01-usdt").resyncs == 0


async def test_a_lost_message_is_noticed_and_mended(venue: Venue) -> None:
    trader = await venue.trader(USDT="100000")
    async with (
        Wire(venue.running.api.port) as wire,
        AsyncClient(address(venue), token=token_of(trader)) as client,
        streaming(wire.url) as (_, stream),
    ):
        await stream.subscribe("depth", "T01/USDT")
        await next_of(stream, DepthMessage)
        wire.lose_one(b'"depth"')
        for price in range(10, 14):
            await client.place("T01/USDT", "BUY", 1, price)
            await asyncio.sleep(0.15)
        await assert_same_book(client, stream, "T01/USDT")
        assert (wire.lost, stream.book("T01/USDT").resyncs, stream.connections) == (1, 1, 1)


async def test_a_cut_is_mended(venue: Venue) -> None:
    trader = await venue.trader(USDT="100000")
    async with (
        Wire(venue.running.api.port) as wire,
        AsyncClient(address(venue), token=token_of(trader)) as client,
        streaming(wire.url, trader) as (_, stream),
    ):
        await stream.subscribe("depth", "T01/USDT")
        await stream.subscribe("orders")
        await next_of(stream, OrdersMessage)
        for price in (10, 11):
            wire.cut()
            await client.place("T01/USDT", "BUY", 1, price)
            message = await next_of(stream, OrdersMessage)
            assert isinstance(message, OrdersMessage)
            assert message.snapshot
            # The connection may have come back before the order was committed.
            while D(price) not in [order.price for order in message.orders]:
                message = await next_of(stream, OrdersMessage)
                assert isinstance(message, OrdersMessage)
        await assert_same_book(client, stream, "T01/USDT")
        assert stream.connections == 3
        wire.cut()
        placed = await stream.place("T01/USDT", "BUY", 1, 12)
        assert placed.order.status == "OPEN"


async def test_an_order_whose_answer_is_lost_is_placed_once(venue: Venue) -> None:
    trader = await venue.trader(USDT="100000")
    async with (
        Wire(venue.running.api.port) as wire,
        streaming(wire.url, trader) as (client, stream),
    ):
        wire.cut_before(b'"response"')
        placed = await stream.place("T01/USDT", "BUY", 1, 10)
        assert placed.replayed
        wire.cut_before(b'"response"')
        with pytest.raises(OutcomeUnknown, match="PATCH"):
            await stream.amend(placed.order.id, price=11)
        assert [row.price async for row in client.orders()] == [11]


async def test_what_cannot_be_mended_ends_the_stream(venue: Venue) -> None:
    async with AsyncClient(address(venue), token="wrong", retry=QUICK) as client:
        with pytest.raises(ApiError, match="INVALID_TOKEN"):
            async with client.stream():
                pass
    async with AsyncClient("http://127.0.0.1:9", retry=Retry(deadline_s=0.3, timeout_s=0.2)) as nowhere:
        with pytest.raises(TransportError, match="no WebSocket"):
            async with nowhere.stream():
                pass
    async with streaming(address(venue)) as (_, stream):
        with pytest.raises(ApiError, match="UNAUTHORIZED"):
            await stream.subscribe("orders")
        with pytest.raises(ApiError, match="INVALID_SYMBOL"):
            await stream.subscribe("trades", "NO/SUCH")
        with pytest.raises(KeyError):
            stream.book("T01/USDT")
    with pytest.raises(StopAsyncIteration):
        await anext(stream)
