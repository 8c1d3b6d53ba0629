"""Every call of both clients against the whole engine."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from tests.e2e.client.conftest import address, opened, token_of
from tests.e2e.venue import Venue
from trade_engine.client import ApiError, NewOrder

D = Decimal


async def test_an_order_from_placing_to_its_trade(venue: Venue, kind: str) -> None:
    symbol = venue.market()
    maker, taker = await venue.trader(T01="5"), await venue.trader(USDT="1000")
    async with (
        opened(kind, address(venue), token=token_of(maker)) as seller,
        opened(kind, address(venue), token=token_of(taker)) as buyer,
    ):
        sold = await seller.place(symbol, "SELL", D("1.50"), D("100"), client_order_id="mine")
        assert (sold.order.status, sold.order.quantity, sold.order.price) == ("OPEN", D("1.5"), D("100"))
        assert (sold.order.client_order_id, sold.trades, sold.replayed) == ("mine", [], False)
        assert sold.order.created_at.tzinfo is not None
        assert sold.order.is_open

        bought = await buyer.place(symbol, "BUY", "0.5", type="MARKET")
        assert bought.order.status == "FILLED"
        assert len(bought.order.client_order_id) == 32
        (trade,) = bought.trades
        assert (trade.price, trade.quantity, trade.side) == (D("100"), D("0.5"), "BUY")
        assert (trade.buyer_fee, trade.buyer_fee_asset) == (D("0.05"), "USDT")
        assert trade.seller_fee is None

        book = await buyer.order_book(symbol, depth=5)
        assert [(level.price, level.quantity, level.num_orders) for level in book.asks] == [(D(100), D(1), 1)]
        ticker = await buyer.ticker(symbol)
        assert ticker in await buyer.tickers()
        assert (ticker.last_price, ticker.day_volume, ticker.best_ask) == (D(100), D("0.5"), D(100))
        assert [row.id for row in await buyer.trades(symbol)] == [trade.id]
        assert [row.id for row in await buyer.my_trades(symbol)] == [trade.id]
        assert (await seller.my_trades())[0].seller_order_id == sold.order.id
        await venue.settled()
        held = {row.asset: row for row in await buyer.balances()}
        assert (held["T01"].available, held["USDT"].available) == (D("0.5"), D("949.95"))

        amended = await seller.amend(sold.order.id, quantity=2, price="101")
        assert (amended.order.quantity, amended.order.price) == (D(2), D(101))
        assert await seller.order(sold.order.id) == amended.order
        cancelled = await seller.cancel(sold.order.id)
        assert (cancelled.status, cancelled.filled_quantity, cancelled.is_open) == ("CANCELLED", D("0.5"), False)
        assert await seller.cancel(sold.order.id) == cancelled


async def test_a_repeat_is_told(venue: Venue, kind: str) -> None:
    trader = await venue.trader(USDT="1000")
    async with opened(kind, address(venue), token=token_of(trader)) as client:
        new = NewOrder(venue.market(), "BUY", 1, 10)
        first = await client.place("T01/USDT", "BUY", 1, 10, client_order_id=new.client_order_id)
        again = await client.place("T01/USDT", "BUY", 1, 10, client_order_id=new.client_order_id)
        assert (first.replayed, again.replayed, again.order.id) == (False, True, first.order.id)


async def test_orders_of_all_kinds(venue: Venue, kind: str) -> None:
    trader = await venue.trader(USDT="10000", T01="10")
    async with opened(kind, address(venue), token=token_of(trader)) as client:
        until = datetime.now(UTC) + timedelta(days=1)
        day = await client.place("T01/USDT", "BUY", 1, 10, time_in_force="GTD", expires_at=until)
        assert day.order.expires_at == until
        stop = await client.place("T01/USDT", "SELL", 1, 5, type="STOP_LIMIT", stop_price=6)
        assert (stop.order.status, stop.order.stop_price) == ("PENDING", D(6))
        iceberg = await client.place(
            "T01/USDT", "SELL", 2, 20, display_quantity=1, post_only=True, self_trade_prevention="DECREMENT"
        )
        assert iceberg.order.display_quantity == D(1)
        assert await client.cancel_all("T01/USDT") == 3
        assert await client.cancel_all() == 0


async def test_lists_come_page_by_page(venue: Venue, kind: str) -> None:
    trader = await venue.trader(USDT="1000")
    async with opened(kind, address(venue), token=token_of(trader)) as client:
        ids = [(await client.place("T01/USDT", "BUY", 1, price)).order.id for price in range(1, 8)]
        assert [row.id for row in await client.orders(limit=3)] == ids[::-1]
        page = await client.orders_page("T01/USDT", status=["OPEN", "PENDING"], side="BUY", limit=3)
        assert ([row.id for row in page], len(page), page.next_cursor) == (ids[:-4:-1], 3, ids[4])
        rest = await client.orders_page(limit=5, cursor=page.next_cursor)
        assert ([row.id for row in rest], rest.next_cursor) == (ids[3::-1], None)
        past = datetime.now(UTC) - timedelta(days=1)
        assert await client.orders(status="open", end_time=past) == []
        assert len(await client.orders(status="open", start_time=past)) == 7


async def test_what_everybody_may_ask(venue: Venue, kind: str) -> None:
    async with opened(kind, address(venue)) as client:
        markets = {market.symbol: market for market in await client.markets()}
        assert markets["T01/USDT"] == await client.market("T01-USDT")
        assert (markets["T01/USDT"].tick_size, markets["RCV/USDT"].fee_asset) == (D("0.01"), "RECEIVED")
        assert abs(await client.time() - datetime.now(UTC)) < timedelta(minutes=1)
        assert (await client.status()).status == "running"
        assert await client.trades("T02/USDT") == []


async def test_a_refusal_has_code_status_and_request_id(venue: Venue, kind: str) -> None:
    trader = await venue.trader(USDT="10")
    async with opened(kind, address(venue), token=token_of(trader)) as client:
        with pytest.raises(ApiError, match="INVALID_PRICE") as caught:
            await client.place("T01/USDT", "BUY", 1, "1.001")
        error = caught.value
        assert (error.code, error.status, error.details["field"]) == ("INVALID_PRICE", 400, "price")
        assert error.request_id
        assert error.retry_after is None
        with pytest.raises(ApiError, match="INSUFFICIENT_BALANCE"):
            await client.place("T01/USDT", "BUY", 1, 100)
        assert await client.orders() == []
        with pytest.raises(ApiError, match="INVALID_SYMBOL"):
            await client.market("../orders")
    async with opened(kind, address(venue)) as nobody:
        with pytest.raises(ApiError, match="UNAUTHORIZED"):
            await nobody.balances()


async def test_a_float_goes_nowhere(venue: Venue, kind: str) -> None:
    trader = await venue.trader(USDT="1000")
    async with opened(kind, address(venue), token=token_of(trader)) as client:
        for arguments in ({"quantity": 0.1, "price": 10}, {"quantity": 1, "price": 10.0}):
            with pytest.raises(TypeError, match="not float"):
                await client.place("T01/USDT", "BUY", **arguments)
        with pytest.raises(TypeError, match=r"quantity .* not bool"):
            await client.place("T01/USDT", "BUY", True, 10)
        with pytest.raises(ValueError, match="price"):
            await client.place("T01/USDT", "BUY", 1, "NaN")
        assert await client.orders() == []


async def test_a_token_may_come_from_a_function(venue: Venue, kind: str) -> None:
    trader = await venue.trader(USDT="1000")
    asked: list[None] = []

    def token() -> str:
        asked.append(None)
        return token_of(trader)

    async with opened(kind, address(venue), token=token) as client:
        await client.balances()
        await client.balances()
    assert len(asked) == 2


async def test_a_batch_has_a_result_each(venue: Venue, kind: str) -> None:
    trader = await venue.trader(USDT="1000")
    async with opened(kind, address(venue), token=token_of(trader)) as client:
        new = [NewOrder("T01/USDT", "BUY", 1, price) for price in (10, "10.001", 11)]
        good, bad, fine = await client.place_many(new)
        assert (good.success, good.order.price, good.error) == (True, D(10), None)
        assert (bad.success, bad.order, bad.error.code) == (False, None, "INVALID_PRICE")
        again = await client.place_many(new)
        assert [row.replayed for row in again] == [True, False, True]
        assert [row.id for row in await client.orders()] == [fine.order.id, good.order.id]
        with pytest.raises(ApiError, match="INVALID_BATCH"):
            await client.place_many([])


async def test_candles(venue: Venue, kind: str) -> None:
    maker, taker = await venue.trader(T01="5"), await venue.trader(USDT="1000")
    async with (
        opened(kind, address(venue), token=token_of(maker)) as seller,
        opened(kind, address(venue), token=token_of(taker)) as buyer,
    ):
        assert list(await buyer.candles("T01/USDT")) == []
        for price in (10, 12):
            await seller.place("T01/USDT", "SELL", 1, price)
            await buyer.place("T01/USDT", "BUY", 1, price)
        page = await buyer.candles("T01/USDT", "1d", start_time=datetime.now(UTC) - timedelta(days=2))
        candle = page.items[-1]
        assert (candle.close, candle.interval, page.next_cursor) == (D(12), "1d", None)
        assert candle.close_time - candle.open_time == timedelta(days=1)
