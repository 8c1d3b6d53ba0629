"""What clients of streams must hear here: one function a story, in the words that their adapters share.

The accounts are those of ``stories``.  ``watch`` and the like give a feed of what comes; every story closes its own.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from decimal import Decimal as D  # noqa: N817 - they are all over the page
from typing import Any

STREAM_STORIES: dict[str, Callable[[Any, Any], None]] = {}
#: Those of order lists: not every client shows them.
LIST_STORIES: dict[str, Callable[[Any, Any], None]] = {}


def story(tell: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
    """Enter a story into the table."""
    STREAM_STORIES[tell.__name__] = tell
    return tell


@contextlib.contextmanager
def opened(feed: Any) -> Iterator[Any]:
    """A feed, closed in the end."""
    try:
        yield feed
    finally:
        feed.close()


def quoted(me: Any, other: Any) -> None:
    """A buyer at 99 and a seller at 101; something traded at 100 before."""
    me.limit("BUY", "1", "100")
    other.limit("SELL", "1", "100")
    me.limit("BUY", "1", "99")
    other.limit("SELL", "2", "101")


@story
def stream_of_trades(me: Any, other: Any) -> None:
    """Every trade."""
    other.limit("SELL", "1", "100")
    other.limit("SELL", "1", "101")
    other.limit("SELL", "1", "102")
    with opened(me.watch("trades")) as feed:
        # Some clients subscribe when they first wait: they are waited for.
        heard = _poke(feed, lambda: me.limit("BUY", "0.1", "100"))
        me.limit("BUY", "1.5", "101")
        wanted = {(D(101), D("0.6")), (D(100), D(1) - D("0.1") * heard)}
        feed.until(lambda trades: wanted <= set(trades))


def _poke(feed: Any, act: Callable[[], Any]) -> int:
    """Do something until the feed hears of it: how often it was done."""
    for count in range(1, 10):
        act()
        with contextlib.suppress(AssertionError):
            _soon(feed)
            return count
    raise AssertionError("the feed hears nothing")


def _soon(feed: Any) -> None:

    end_s = time.monotonic() + 3
    while not feed.events:
        if feed.failure is not None:
            raise feed.failure
        assert time.monotonic() < end_s
        time.sleep(0.02)


@story
def stream_of_aggregates(me: Any, other: Any) -> None:
    """What one order takes at one price is one."""
    for _ in range(3):
        other.limit("SELL", "1", "100")
    with opened(me.watch("aggregates")) as feed:
        count = _poke(feed, lambda: me.limit("BUY", "0.1", "100"))
        me.limit("BUY", "2", "100")
        feed.until(lambda trades: trades[-1] == (D(100), D(2)))
        assert trades_of(feed) == count + 1, feed.events


def trades_of(feed: Any) -> int:
    """How many a feed has heard of."""
    return len(feed.events)


@story
def stream_of_the_best_prices(me: Any, other: Any) -> None:
    """The best bid and offer, as they change."""
    quoted(me, other)
    with opened(me.watch("best")) as feed:
        feed.until(lambda best: best and best[-1] == (D(99), D(101)))
        me.limit("BUY", "1", "100")
        feed.until(lambda best: best[-1] == (D(100), D(101)))


@story
def stream_of_levels(me: Any, other: Any) -> None:
    """The top of the book, whole each time."""
    quoted(me, other)
    with opened(me.watch("levels")) as feed:
        feed.until(lambda books: books and books[-1] == ([(D(99), D(1))], [(D(101), D(2))]))
        me.limit("BUY", "3", "98")
        feed.until(lambda books: books[-1] == ([(D(99), D(1)), (D(98), D(3))], [(D(101), D(2))]))


@story
def stream_of_the_day(me: Any, other: Any) -> None:
    """The rolling day: last, open, high, low and volume."""
    quoted(me, other)
    with opened(me.watch("day")) as feed:
        feed.until(lambda days: days and days[-1] == (D(100), D(100), D(100), D(100), D(1)))
        me.limit("BUY", "1", "101")
        feed.until(lambda days: days[-1] == (D(101), D(100), D(101), D(100), D(2)))


@story
def stream_of_the_day_in_short(me: Any, other: Any) -> None:
    """The same, in short."""
    quoted(me, other)
    with opened(me.watch("mini_day")) as feed:
        feed.until(lambda days: days and days[-1] == (D(100), D(100), D(100), D(100), D(1)))
        me.limit("BUY", "1", "101")
        feed.until(lambda days: days[-1] == (D(101), D(100), D(101), D(100), D(2)))


@story
def stream_of_candles(me: Any, other: Any) -> None:
    """The running candle."""
    quoted(me, other)
    with opened(me.watch("candles")) as feed:
        feed.until(lambda rows: rows)
        me.limit("BUY", "1", "101")
        # The minute may have ended between the two trades.
        feed.until(lambda rows: rows[-1][3] == D(101) and rows[-1][4] in (D(1), D(2)))


@story
def streams_over_one_connection(me: Any, other: Any) -> None:
    """Two streams at once, told apart by their names."""
    quoted(me, other)
    with opened(me.watch_two()) as feed:
        feed.until(lambda heard: ("best", (D(99), D(101))) in heard)
        for _ in range(3):
            me.limit("BUY", "0.5", "101")
        feed.until(lambda heard: ("trades", (D(101), D("0.5"))) in heard)
        me.limit("BUY", "1", "100")
        feed.until(lambda heard: any(kind == "best" and best[0] == D(100) for kind, best in heard))


@story
def book_stitched_from_diffs(me: Any, other: Any) -> None:
    """A book kept from a snapshot and diffs is the book."""
    quoted(me, other)
    with opened(me.watch_book()) as feed:
        for n in range(12):
            me.limit("BUY", "0.5", str(90 + n % 5))
            placed = other.limit("SELL", "0.3", str(101 + n % 4))
            if n % 3 == 0:
                other.cancel(placed.id)
        me.limit("BUY", "2.5", "101")
        wanted = me.book()
        feed.until(lambda books: books and books[-1] == wanted)


@story
def stream_of_executions(me: Any, other: Any) -> None:
    """Every execution of one's own orders, in order, and nobody else's."""
    with opened(me.watch_executions()) as feed:
        first = me.limit("BUY", "1", "100")
        other.limit("SELL", "0.4", "100")
        other.limit("SELL", "0.6", "100")
        second = me.limit("BUY", "2", "99")
        other.limit("SELL", "0.5", "99")
        me.cancel(second.id)
        other.limit("SELL", "1", "105")
        third = me.limit("BUY", "3", "105", "IOC")
        wanted = [
            (first.id, "NEW", "NEW", D(0)),
            (first.id, "TRADE", "PARTIALLY_FILLED", D("0.4")),
            (first.id, "TRADE", "FILLED", D(1)),
            (second.id, "NEW", "NEW", D(0)),
            (second.id, "TRADE", "PARTIALLY_FILLED", D("0.5")),
            (second.id, "CANCELED", "CANCELED", D("0.5")),
            (third.id, "NEW", "NEW", D(0)),
            (third.id, "TRADE", "PARTIALLY_FILLED", D(1)),
            (third.id, "EXPIRED", "EXPIRED", D(1)),
        ]
        feed.until(lambda heard: len(heard) >= len(wanted))
        assert feed.events == wanted, feed.events


@story
def stream_of_balances(me: Any, other: Any) -> None:
    """Balances, as orders and trades move them."""
    with opened(me.watch_balances()) as feed:

        def held(asset: str) -> Any:
            known: dict[str, Any] = {}
            for change in list(feed.events):
                known |= change
            return known.get(asset)

        me.limit("BUY", "1", "100")
        feed.until(lambda _: held(me.quote) == (D("99899.9"), D("100.1")))
        other.limit("SELL", "1", "100")
        feed.until(lambda _: held(me.quote) == (D("99899.95"), D(0)) and held(me.base) == (D(1), D(0)))


def stream_of_order_lists(me: Any, other: Any) -> None:
    """A pair begins and ends, once each: by its fill, and by its cancel."""
    with opened(other.watch_lists()) as feed:
        first = other.oco("SELL", "1", limit="110", stop="90", stop_limit="89")
        me.limit("BUY", "0.4", "110")
        me.limit("BUY", "0.6", "110")
        feed.until(lambda heard: (first, "ALL_DONE", 2) in heard)
        second = other.oco("SELL", "1", limit="110", stop="90", stop_limit="89")
        other.cancel_oco(second)
        feed.until(lambda heard: (second, "ALL_DONE", 2) in heard)
        wanted = [(number, status, 2) for number in (first, second) for status in ("EXECUTING", "ALL_DONE")]
        assert feed.events == wanted, feed.events


LIST_STORIES[stream_of_order_lists.__name__] = stream_of_order_lists
