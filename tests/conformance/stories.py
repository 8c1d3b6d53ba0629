"""What every client must be able to do here: one function a story, told with the words that all adapters share.

``me`` has 100,000 of the quote asset and ``other`` 1,000 of the base asset, in a market that nobody else uses.  Fees
are 0.05 % for makers and 0.1 % for takers.  Amounts are ``Decimal``; statuses are Binance's words.
"""

import time
from collections.abc import Callable
from decimal import Decimal as D  # noqa: N817 - they are all over the page
from typing import Any

Story = Callable[[Any, Any], None]
STORIES: dict[str, Story] = {}


def story(tell: Story) -> Story:
    """Enter a story into the table."""
    STORIES[tell.__name__] = tell
    return tell


def equal(found: Any, expected: Any) -> None:
    """Fail, and say what was found."""
    assert found == expected, f"found {found!r}, expected {expected!r}"


@story
def markets(me: Any, other: Any) -> None:
    """The market is listed with its steps."""
    equal(me.steps(), (D("0.01"), D("0.000001")))


@story
def clock(me: Any, other: Any) -> None:
    """The server's clock."""
    assert abs(me.time() - time.time() * 1000) < 60_000


@story
def balance(me: Any, other: Any) -> None:
    """Free and reserved, before and after an order rests."""
    equal(me.balance(me.quote), (D(100_000), D(0)))
    me.limit("BUY", "1", "100")
    equal(me.balance(me.quote), (D("99899.9"), D("100.1")))
    equal(other.balance(me.base), (D(1_000), D(0)))


@story
def resting_order(me: Any, other: Any) -> None:
    """An order rests, is found again, and stands in the book."""
    placed = me.limit("BUY", "1", "100")
    equal(placed.status, "NEW")
    found = me.find(placed.id)
    equal((found.id, found.status, found.filled), (placed.id, "NEW", D(0)))
    equal(me.book(), ([(D(100), D(1))], []))


@story
def partial_fill(me: Any, other: Any) -> None:
    """Half of an order is filled."""
    placed = me.limit("BUY", "1", "100")
    equal(other.limit("SELL", "0.4", "100").status, "FILLED")
    found = me.find(placed.id)
    equal((found.status, found.filled), ("PARTIALLY_FILLED", D("0.4")))


@story
def fill(me: Any, other: Any) -> None:
    """An order is filled in two steps, and both have what they traded."""
    placed = me.limit("BUY", "1", "100")
    other.limit("SELL", "0.4", "100")
    other.limit("SELL", "0.6", "100")
    found = me.find(placed.id)
    equal((found.status, found.filled), ("FILLED", D(1)))
    until(lambda: me.balance(me.base) == (D(1), D(0)))
    until(lambda: me.balance(me.quote) == (D("99899.95"), D(0)))
    until(lambda: other.balance(me.quote) == (D("99.9"), D(0)))


def until(holds: Callable[[], bool], within_s: float = 20) -> None:
    """Wait for what settlement does."""
    end_s = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < end_s, "it did not come about"
        time.sleep(0.05)


@story
def market_by_quantity(me: Any, other: Any) -> None:
    """A market order over two levels."""
    other.limit("SELL", "1", "100")
    other.limit("SELL", "1", "101")
    bought = me.market("BUY", "1.5")
    equal((bought.status, bought.filled), ("FILLED", D("1.5")))


@story
def market_by_amount(me: Any, other: Any) -> None:
    """A market order that spends an amount, the fee included."""
    other.limit("SELL", "10", "100")
    bought = me.market_amount("500.5")
    equal((bought.status, bought.filled), ("FILLED", D(5)))


@story
def market_without_book(me: Any, other: Any) -> None:
    """A market order on an empty side expires."""
    equal(me.market("BUY", "1").status, "EXPIRED")


@story
def immediate_or_cancel(me: Any, other: Any) -> None:
    """The rest of an order that may not rest expires."""
    other.limit("SELL", "1", "100")
    placed = me.limit("BUY", "3", "100", "IOC")
    equal((placed.status, placed.filled), ("EXPIRED", D(1)))


@story
def fill_or_kill(me: Any, other: Any) -> None:
    """An order that cannot be filled wholly is not filled at all."""
    other.limit("SELL", "1", "100")
    placed = me.limit("BUY", "3", "100", "FOK")
    equal((placed.status, placed.filled), ("EXPIRED", D(0)))


@story
def stop_limit(me: Any, other: Any) -> None:
    """A stop waits for its price, then trades."""
    other.limit("SELL", "1", "100")
    me.limit("BUY", "1", "100")
    waiting = me.stop_limit("BUY", "1", price="112", stop="110")
    equal(me.find(waiting.id).status, "NEW")
    other.limit("SELL", "2", "110")
    me.limit("BUY", "1", "110")
    found = me.find(waiting.id)
    equal((found.status, found.filled), ("FILLED", D(1)))


@story
def take_profit(me: Any, other: Any) -> None:
    """What is held is offered when the price is good enough."""
    other.limit("SELL", "1", "100")
    me.limit("BUY", "1", "100")
    waiting = other.take_profit("SELL", "1", price="108", stop="110")
    equal(me.book(), ([], []))
    other.limit("SELL", "1", "110")
    me.limit("BUY", "1", "110")
    equal(other.find(waiting.id).status, "NEW")
    equal(me.book(), ([], [(D(108), D(1))]))


@story
def post_only(me: Any, other: Any) -> None:
    """An order that only makes rests where it takes nothing, and is refused where it would."""
    other.limit("SELL", "1", "100")
    equal(me.find(me.maker("BUY", "1", "99").id).status, "NEW")
    me.fails("would_take", lambda: me.maker("BUY", "1", "100"))


@story
def iceberg(me: Any, other: Any) -> None:
    """Only a part of an order is seen."""
    me.iceberg("BUY", "10", "100", shown="1")
    equal(me.book(), ([(D(100), D(1))], []))


@story
def cancel(me: Any, other: Any) -> None:
    """An order is cancelled, by number."""
    placed = me.limit("BUY", "1", "100")
    me.cancel(placed.id)
    equal(me.find(placed.id).status, "CANCELED")
    until(lambda: me.balance(me.quote) == (D(100_000), D(0)))


@story
def cancel_by_own_id(me: Any, other: Any) -> None:
    """An order is found and cancelled by the id that its owner gave it."""
    placed = me.limit("BUY", "1", "100", client_id="mine-1")
    equal(placed.client_id, "mine-1")
    equal(me.find_own("mine-1").id, placed.id)
    me.cancel_own("mine-1")
    equal(me.find(placed.id).status, "CANCELED")


@story
def own_id_again(me: Any, other: Any) -> None:
    """The id of an order that has ended may be given again."""
    me.cancel(me.limit("BUY", "1", "100", client_id="again").id)
    second = me.limit("BUY", "1", "99", client_id="again")
    equal(me.find_own("again").id, second.id)
    equal(me.open_orders(), [second.id])


@story
def replaced(me: Any, other: Any) -> None:
    """An order gives way to another, which needs its funds."""
    placed = me.limit("BUY", "9", "10000")
    after = me.replace(placed.id, "BUY", "9", "9999")
    equal((me.find(placed.id).status, after.status), ("CANCELED", "NEW"))
    equal(me.open_orders(), [after.id])


@story
def replacing_an_unknown_order(me: Any, other: Any) -> None:
    """What is not there is replaced by nothing."""
    me.fails("replace", lambda: me.replace("999999999", "BUY", "1", "100"))
    equal(me.open_orders(), [])


@story
def one_cancels_other(me: Any, other: Any) -> None:
    """A take profit and a stop loss, of which the first that is filled ends the other."""
    number = other.oco("SELL", "1", limit="110", stop="90", stop_limit="89")
    equal(other.list_status(number), "EXECUTING")
    equal(len(other.open_orders()), 2)
    equal(other.balance(other.base), (D(999), D(1)))
    me.limit("BUY", "1", "110")
    equal(other.list_status(number), "ALL_DONE")
    equal(sorted(order.status for order in other.all_orders()), ["EXPIRED", "FILLED"])


@story
def a_stop_loss_ends_the_take_profit(me: Any, other: Any) -> None:
    """The stop of a pair is triggered."""
    number = other.oco("SELL", "1", limit="110", stop="90", stop_limit="89")
    me.limit("BUY", "3", "90")
    other.limit("SELL", "1", "90")
    equal(other.list_status(number), "ALL_DONE")
    equal(sorted(order.status for order in other.all_orders()), ["EXPIRED", "FILLED", "FILLED"])


@story
def cancelling_a_pair(me: Any, other: Any) -> None:
    """Both legs are cancelled at once."""
    number = me.oco("BUY", "1", limit="90", stop="110", stop_limit="111")
    me.cancel_oco(number)
    equal(me.list_status(number), "ALL_DONE")
    equal(me.open_orders(), [])
    until(lambda: me.balance(me.quote) == (D(100_000), D(0)))


@story
def no_pair(me: Any, other: Any) -> None:
    """Prices that make no pair."""
    me.fails("prices", lambda: me.oco("SELL", "1", limit="80", stop="90", stop_limit="89"))


@story
def cancel_every(me: Any, other: Any) -> None:
    """All orders of a market are cancelled at once."""
    for price in ("98", "99", "100"):
        me.limit("BUY", "1", price)
    me.cancel_every()
    equal(me.open_orders(), [])
    equal(me.book(), ([], []))


@story
def open_orders(me: Any, other: Any) -> None:
    """What is open is listed."""
    placed = [me.limit("BUY", "1", price).id for price in ("98", "99", "100")]
    me.cancel(placed[1])
    equal(sorted(me.open_orders()), sorted([placed[0], placed[2]]))


@story
def all_orders(me: Any, other: Any) -> None:
    """What is open and what has ended is listed, oldest first."""
    placed = [me.limit("BUY", "1", price).id for price in ("98", "99", "100")]
    me.cancel(placed[1])
    equal([order.id for order in me.all_orders()], placed)
    equal([order.status for order in me.all_orders()], ["NEW", "CANCELED", "NEW"])


@story
def own_trades(me: Any, other: Any) -> None:
    """Own trades with their commissions."""
    resting = me.limit("BUY", "1", "100")
    taking = other.limit("SELL", "0.4", "100")
    [mine], [theirs] = me.own_trades(), other.own_trades()
    equal(mine[1:], (resting.id, D(100), D("0.4"), D("0.02"), me.quote, True))
    equal(theirs[1:], (taking.id, D(100), D("0.4"), D("0.04"), me.quote, False))
    equal(mine[0], theirs[0])


def traded(me: Any, other: Any) -> None:
    """Two trades, at 100 and at 101."""
    other.limit("SELL", "1", "100")
    other.limit("SELL", "2", "101")
    me.market("BUY", "2")


@story
def candles(me: Any, other: Any) -> None:
    """Candles of what traded."""
    traded(me, other)
    rows = [row for row in me.candles() if row[4]]
    equal((rows[0][0], rows[-1][3], sum(row[4] for row in rows)), (D(100), D(101), D(2)))


@story
def book(me: Any, other: Any) -> None:
    """Both sides of the book, best first, and the best of each."""
    for price in ("98", "99"):
        me.limit("BUY", "1", price)
    for price in ("101", "102"):
        other.limit("SELL", "2", price)
    equal(me.book(), ([(D(99), D(1)), (D(98), D(1))], [(D(101), D(2)), (D(102), D(2))]))
    equal(me.best(), (D(99), D(101)))


@story
def public_trades(me: Any, other: Any) -> None:
    """What everybody sees of trades."""
    traded(me, other)
    equal([(price, quantity) for price, quantity in me.public_trades()], [(D(100), D(1)), (D(101), D(1))])


@story
def ticker(me: Any, other: Any) -> None:
    """The last 24 hours."""
    traded(me, other)
    equal(me.ticker(), (D(101), D(100), D(101), D(100), D(2)))


@story
def average_price(me: Any, other: Any) -> None:
    """The last price, where a client asks for nothing else."""
    traded(me, other)
    equal(me.last(), D(101))


@story
def trying(me: Any, other: Any) -> None:
    """An order is checked and not placed."""
    me.try_limit("BUY", "1", "100")
    equal(me.open_orders(), [])


@story
def fees(me: Any, other: Any) -> None:
    """What trading costs."""
    equal(me.fees(), (D("0.0005"), D("0.001")))


@story
def insufficient_funds(me: Any, other: Any) -> None:
    """More than there is."""
    me.fails("insufficient", lambda: me.limit("BUY", "1", "200000"))


@story
def unknown_order(me: Any, other: Any) -> None:
    """An order that is not there is not found."""
    me.fails("no_order", lambda: me.find("999999999"))


@story
def cancelling_an_unknown_order(me: Any, other: Any) -> None:
    """Nor cancelled; nor is one that has ended, or somebody else's."""
    me.fails("unknown", lambda: me.cancel("999999999"))
    placed = me.limit("BUY", "1", "100")
    other.fails("unknown", lambda: other.cancel(placed.id))
    me.cancel(placed.id)
    me.fails("unknown", lambda: me.cancel(placed.id))


@story
def bad_symbol(me: Any, other: Any) -> None:
    """A market that is not there."""
    me.fails("bad_symbol", me.ask_for_no_market)


@story
def wrong_quantity(me: Any, other: Any) -> None:
    """Less than the least quantity."""
    me.fails("filter", lambda: me.limit("BUY", "0.00001", "100"))


@story
def too_large(me: Any, other: Any) -> None:
    """More than price and quantity may be together."""
    me.fails("notional", lambda: me.limit("BUY", "1000", "900000000"))


@story
def duplicate_own_id(me: Any, other: Any) -> None:
    """The id of a live order is taken."""
    me.limit("BUY", "1", "100", client_id="twice")
    me.fails("duplicate", lambda: me.limit("BUY", "1", "99", client_id="twice"))
    equal(len(me.open_orders()), 1)


@story
def bad_signature(me: Any, other: Any) -> None:
    """A secret that is not the key's."""
    me.fails("signature", me.with_secret("0" * 64).account)


@story
def bad_key(me: Any, other: Any) -> None:
    """A key that is not there."""
    me.fails("key", me.with_key("tek_" + "0" * 32).account)


@story
def late_timestamp(me: Any, other: Any) -> None:
    """A request that is too old."""
    me.fails("timestamp", me.late)


@story
def rate_limit(me: Any, other: Any) -> None:
    """More orders than pass."""

    def flood() -> None:
        for _ in range(400):
            me.limit("BUY", "0.01", "10")

    me.fails("rate", flood)
