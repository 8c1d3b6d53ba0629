"""Market channels under load: what subscribers stitch is what REST shows, whoever joins late or reads slowly."""

import asyncio
import contextlib
import zlib
from typing import Any

import pytest

from tests.e2e.venue import Venue
from tests.e2e.ws.client import Book, Client, client
from tests.e2e.ws.conftest import Start
from tests.e2e.ws.flow import bearer, load, rich

SEEDS = (11,)


async def rest_book(venue: Venue, symbol: str) -> dict[str, Any]:
    answer = await venue.http.get(f"/api/v1/orderbook/{symbol}", params={"depth": 1000})
    content: dict[str, Any] = answer.json()["data"]
    return content


def sides(shown: dict[str, Any]) -> tuple[dict[str, str], dict[str, str]]:
    bids, asks = ({row["price"]: row["quantity"] for row in shown[side]} for side in ("bids", "asks"))
    return bids, asks


async def agrees(venue: Venue, reader: Client, symbol: str) -> None:
    """The book that was stitched becomes REST's, now that nothing moves."""
    shown = sides(await rest_book(venue, symbol))
    book = reader.books[symbol]
    await reader.until(lambda: (book.bids, book.asks) == shown)


@pytest.mark.parametrize("seed", SEEDS)
async def test_stitched_books_equal_rest_at_each_sequence(start: Start, seed: int) -> None:
    async with start(websocket__flush_ms=0) as venue, contextlib.AsyncExitStack() as stack:
        port, symbols = venue.running.websocket.port, [venue.market() for _ in range(3)]
        seen: dict[str, dict[int, Any]] = {symbol: {} for symbol in symbols}
        done = asyncio.Event()

        async def watch() -> None:
            while not done.is_set():
                for symbol in symbols:
                    shown = await rest_book(venue, symbol)
                    seen[symbol][shown["sequence"]] = sides(shown)

        readers: list[Client] = []

        async def join() -> None:
            """Subscribers come at any time, in any spelling."""
            for number in range(6):
                reader = await stack.enter_async_context(client(port if number % 2 else venue.running.api.port))
                for symbol in symbols:
                    spelt = (symbol, symbol.replace("/", "-"), symbol.replace("/", "").lower())[number % 3]
                    shown = await reader.do("subscribe", channel="depth", symbol=spelt)
                    assert shown == {"channel": "depth", "symbol": symbol}
                readers.append(reader)
                await asyncio.sleep(0.3)

        async with asyncio.TaskGroup() as group:
            group.create_task(watch())
            await asyncio.gather(group.create_task(join()), group.create_task(load(venue, symbols, 3.0, seed)))
            # A busy machine shows fewer books in the same time: it is given more.
            for more in range(1, 20):
                if all(len(readers[0].books[symbol].history.keys() & seen[symbol].keys()) > 10 for symbol in symbols):
                    break
                await load(venue, symbols, 1.0, seed + more)
            done.set()
        for symbol in symbols:
            for reader in readers:
                await agrees(venue, reader, symbol)
                history = reader.books[symbol].history
                both = history.keys() & seen[symbol].keys()
                assert all(history[sequence] == seen[symbol][sequence] for sequence in both)
            history = readers[0].books[symbol].history
            assert len(history.keys() & seen[symbol].keys()) > 10, (len(history), len(seen[symbol]))


async def test_a_slow_reader_is_conflated_and_stitches_without_a_gap(start: Start) -> None:
    async with start(websocket__buffer_bytes=4096) as venue:
        port, symbol = venue.running.websocket.port, venue.market()
        async with client(port, receive_buffer=4096) as slow, client(port) as quick:
            for reader in (slow, quick):
                await reader.do("subscribe", channel="depth", symbol=symbol)
                await reader.do("subscribe", channel="trades", symbol=symbol)
                await reader.do("subscribe", channel="book", symbol=symbol)
            counts = venue.running.streams.hub.counts
            for round_ in range(2):
                slow.pause()
                await load(venue, [symbol], 1.0, 20 + round_)
                await slow.fill(symbol, 400)
                conflated = counts.conflated
                # How long it takes until everything between them is full depends on the machine.
                async with asyncio.timeout(120):
                    while counts.conflated == conflated:
                        await load(venue, [symbol], 1.0, 30 + round_)
                slow.read_on()
                await agrees(venue, slow, symbol)
                await agrees(venue, quick, symbol)
            assert slow.books[symbol].updates < quick.books[symbol].updates
            assert slow.books[symbol].merged > 0
            told = slow.messages["trades", symbol]
            await slow.until(lambda: told[-1]["data"][-1] == quick.messages["trades", symbol][-1]["data"][-1])
            dropped = sum(message.get("dropped", 0) for message in told)
            shown = sum(len(message["data"]) for message in told)
            assert shown + dropped == sum(len(message["data"]) for message in quick.messages["trades", symbol])


async def test_every_trade_once_in_order(start: Start) -> None:
    async with start() as venue:
        symbol, port = venue.market(), venue.running.websocket.port
        async with client(port) as reader:
            await reader.do("subscribe", channel="trades", symbol=symbol)
            await load(venue, [symbol], 1.0, 3)
            async with client(port) as late:
                await late.do("subscribe", channel="trades", symbol=symbol)
                await late.until(lambda: late.messages["trades", symbol])
                rows = list(
                    (await venue.http.get("/api/v1/trades", params={"symbol": symbol, "limit": 500})).json()["data"]
                )
                stored = rows[::-1]
                told = reader.messages["trades", symbol]
                await reader.until(lambda: told[-1]["data"] and told[-1]["data"][-1]["id"] == stored[-1]["id"])
                flat = [trade for message in told for trade in message["data"]]
                assert flat[-len(stored) :] == stored
                assert len({trade["id"] for trade in flat}) == len(flat) > 1
                assert [trade["sequence"] for trade in flat] == sorted({trade["sequence"] for trade in flat})
                sequences = [message["sequence"] for message in told]
                assert sequences == sorted(sequences)
                assert not any("dropped" in message for message in told)
                (snapshot,) = late.messages["trades", symbol]
                assert snapshot["snapshot"] is True
                assert snapshot["data"] == stored[-50:]


async def test_the_tickers_of_all_markets(start: Start) -> None:
    async with start(websocket__statistics_ms=20) as venue:
        one, other = venue.market(), venue.market()
        async with client(venue.running.websocket.port) as reader:
            assert await reader.do("subscribe", channel="tickers") == {"channel": "tickers"}
            await reader.until(lambda: len(reader.messages) == 1)
            (told,) = reader.messages.values()
            listed = (await venue.http.get("/api/v1/tickers")).json()["data"]
            assert (told[0]["snapshot"], told[0]["data"]) == (True, listed)
            shown = {row["symbol"]: row for row in listed}
            await load(venue, [one, other], 0.5, 4)

            async def all_told() -> None:
                now = (await venue.http.get("/api/v1/tickers")).json()["data"]
                await reader.until(lambda: {**shown, **changed()} == {row["symbol"]: row for row in now})

            def changed() -> dict[str, Any]:
                return {row["symbol"]: row for message in told[1:] for row in message["data"]}

            await all_told()
            assert changed().keys() == {one, other}, "of others nothing is told"
            assert [message["sequence"] for message in told] == list(range(len(told)))
            assert await reader.refused("subscribe", channel="tickers", symbol=one) == "INVALID_SYMBOL"
            await reader.do("unsubscribe", channel="tickers")


async def test_ticker_candles_book_and_levels_equal_rest(start: Start) -> None:
    async with start(websocket__statistics_ms=20) as venue:
        symbol = venue.market()
        async with client(venue.running.websocket.port) as reader:
            for channel in ("ticker", "book"):
                await reader.do("subscribe", channel=channel, symbol=symbol)
            await reader.do("subscribe", channel="candles", symbol=symbol, interval="1d")
            assert await reader.do("subscribe", channel="depth", symbol=symbol, levels=5) == {
                "channel": "depth", "symbol": symbol, "levels": 5,
            }  # fmt: skip
            await reader.until(lambda: len(reader.messages) == 4)
            assert all(found[0]["snapshot"] is True for found in reader.messages.values())
            assert reader.messages["candles", symbol][0]["data"] is None
            assert reader.messages["book", symbol][0]["data"] == {"bid": None, "ask": None}
            await load(venue, [symbol], 1.0, 4)

            def newest(channel: str) -> Any:
                return reader.messages[channel, symbol][-1]["data"]

            ticker = (await venue.http.get(f"/api/v1/markets/{symbol}/ticker")).json()["data"]
            await reader.until(lambda: newest("ticker") == ticker)
            candles = await venue.http.get(f"/api/v1/markets/{symbol}/candles", params={"interval": "1d", "limit": 1})
            await reader.until(lambda: [newest("candles")] == candles.json()["data"])
            shown = await rest_book(venue, symbol)
            levels = {
                side: [[row["price"], row["quantity"]] for row in shown[side][:5]] for side in ("bids", "asks")
            }  # fmt: skip
            await reader.until(lambda: newest("depth") == levels)
            top = {"bid": levels["bids"][0], "ask": levels["asks"][0]}
            await reader.until(lambda: newest("book") == top)
            assert all(message["snapshot"] is True for message in reader.messages["depth", symbol])


async def test_unsubscribed_means_silence(start: Start) -> None:
    async with start() as venue:
        symbol, trader = venue.market(), await venue.trader(USDT="1000000")
        async with client(venue.running.websocket.port) as reader, client(venue.running.websocket.port) as other:
            for each in (reader, other):
                await each.do("subscribe", channel="book", symbol=symbol)
            assert await reader.do("unsubscribe", channel="book", symbol=symbol) == {
                "channel": "book",
                "symbol": symbol,
            }
            assert (await reader.ask("unsubscribe", channel="book", symbol=symbol))["success"]
            await trader.order(symbol, "BUY", "1", "10.00")
            await other.until(lambda: other.messages["book", symbol][-1]["data"]["bid"] == ["10.00", "1"])
            await reader.do("ping")
            assert len(reader.messages["book", symbol]) == 1
            await reader.do("subscribe", channel="book", symbol=symbol)
            await reader.until(lambda: reader.messages["book", symbol][-1]["data"]["bid"] == ["10.00", "1"])
            assert reader.messages["book", symbol][-1]["snapshot"] is True


async def test_stalled_readers_stop_no_orders(start: Start) -> None:
    async with (
        start(websocket__buffer_bytes=4096) as venue,
        contextlib.AsyncExitStack() as stack,
    ):
        symbol, port = venue.market(), venue.running.websocket.port
        trader = await rich(venue, symbol)
        for _ in range(30):
            stalled = await stack.enter_async_context(client(port, receive_buffer=4096))
            for channel in ("depth", "trades", "book"):
                await stalled.do("subscribe", channel=channel, symbol=symbol)
            stalled.pause()
        async with client(port, bearer(trader)) as quick:
            await quick.do("subscribe", channel="depth", symbol=symbol)
            for n in range(300):
                order = {"symbol": symbol, "side": "BUY", "type": "LIMIT", "quantity": "1", "price": f"{10 + n}.00"}
                await quick.do("place", order=order)
            await agrees(venue, quick, symbol)


async def test_two_hundred_connections(start: Start) -> None:
    async with start() as venue, contextlib.AsyncExitStack() as stack:
        symbol, port = venue.market(), venue.running.websocket.port
        trader = await rich(venue, symbol)
        readers = [await stack.enter_async_context(client(port)) for _ in range(200)]
        await asyncio.gather(*(reader.do("subscribe", channel="depth", symbol=symbol) for reader in readers))
        for n in range(20):
            await trader.order(symbol, "BUY", "1", f"{10 + n}.00")
        expected = {f"{10 + n}.00": "1" for n in range(20)}
        for reader in readers:
            await reader.until(lambda book=reader.books[symbol]: book.bids == expected)
        assert venue.running.streams.connections == 200


@pytest.mark.parametrize("broken", ["gap", "checksum", "crossed"])
def test_the_stitcher_sees_what_is_wrong(broken: str) -> None:
    book = Book()
    levels = {"bids": [["9.00", "1"]], "asks": [["10.00", "2"]]}
    head = {"snapshot": True, "first_sequence": 5, "sequence": 5}
    book.take({**head, "checksum": zlib.crc32(b"9.00:1:10.00:2"), "data": levels})
    changed: dict[str, Any] = {"bids": [["9.00", "0"], ["9.50", "1"]], "asks": []}
    update = {"first_sequence": 6, "sequence": 6, "checksum": zlib.crc32(b"9.50:1:10.00:2"), "data": changed}
    if broken == "gap":
        update["first_sequence"] = 7
    elif broken == "checksum":
        update["checksum"] = 1
    else:
        changed["bids"][1] = ["11.00", "1"]
        update["checksum"] = zlib.crc32(b"11.00:1:10.00:2")
    with pytest.raises(AssertionError):
        book.take(update)


async def test_a_reader_that_sees_what_is_wrong_says_so_and_leaves_no_socket(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Client] = []

    async def read_on(venue: Venue) -> None:
        symbol, trader = venue.market(), await venue.trader(USDT="1000000")
        async with client(venue.running.websocket.port) as reader:
            opened.append(reader)
            await reader.do("subscribe", channel="depth", symbol=symbol)
            await trader.order(symbol, "BUY", "1", "10.00")
            await reader.until(lambda: reader.books[symbol].updates)

    monkeypatch.setattr(Book, "checksum", lambda _: -1)
    async with start() as venue:
        with pytest.raises(AssertionError):
            await read_on(venue)
        with pytest.raises(AssertionError):
            await opened[0].ask("ping")
        assert opened[0].link.transport.get_extra_info("socket").fileno() == -1


async def test_a_reader_who_wants_fewer_updates_misses_nothing(start: Start) -> None:
    """With ``pause_ms`` what happens meanwhile is merged; in the end both readers have the same."""
    async with start(websocket__flush_ms=0) as venue, contextlib.AsyncExitStack() as stack:
        symbol = venue.market()
        trader = await rich(venue, symbol)
        fast, slow = [await stack.enter_async_context(client(venue.running.websocket.port)) for _ in range(2)]
        assert (await fast.do("subscribe", channel="depth", symbol=symbol))["symbol"] == symbol
        shown = await slow.do("subscribe", channel="depth", symbol=symbol, pause_ms=1000)
        assert shown == {"channel": "depth", "symbol": symbol, "pause_ms": 1000}
        for number in range(30):
            await trader.order(symbol, "BUY", "1", f"{100 + number}.00")
        await agrees(venue, fast, symbol)
        await agrees(venue, slow, symbol)
        assert fast.books[symbol].updates > 2 * slow.books[symbol].updates
        assert slow.books[symbol].updates >= 1
