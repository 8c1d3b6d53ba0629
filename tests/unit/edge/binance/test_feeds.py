"""Market streams whose time has come without a trade, and what readers that lagged are told."""

from typing import Any

from tests.unit.edge.ws.test_channels import messages
from trade_engine.domain.market import default_markets
from trade_engine.domain.orders import Trade
from trade_engine.edge.binance.ws.feeds import AggregateFeed, CandleFeed
from trade_engine.edge.ws.channels import Tape
from trade_engine.sequencer.public_market import PublicMarket

MINUTE = 60_000_000


class Clock:
    """The time of events, and how far everything is committed."""

    def __init__(self, now_us: int) -> None:
        self.now_us = self.committed_us = now_us

    def __call__(self) -> int:
        return self.now_us


def traded(number: int, at_us: int, taker: str = "b", price: int = 100) -> Trade:
    return Trade(
        trade_id=str(number), sequence=number, market_id=1, price=price * 10**8, quantity=10**8, notional=price * 10**8,
        buyer_order_id=taker, seller_order_id="s", buyer_user_id="u", seller_user_id="v", buyer_fee=0, seller_fee=0,
        buyer_fee_asset="USDT", seller_fee_asset="USDT", is_buyer_maker=False, executed_us=at_us,
    )  # fmt: skip


def candles(frame: bytes | None) -> list[tuple[int, str, int, bool]]:
    """Beginning in minutes, close, trades, and whether it has ended, of each candle told."""
    return [(k["t"] // 60_000, k["c"], k["n"], k["x"]) for k in (message["k"] for message in messages(frame or b""))]


def test_candles_end_once_it_is_sure_what_traded_in_them() -> None:
    market = default_markets()[0]
    view, clock = PublicMarket(market), Clock(100 * MINUTE)
    feed = CandleFeed(
        clock, "1m", 250, "x@kline_1m", combined=False, view=lambda: view, now_us=clock  # type: ignore[arg-type]
    )  # fmt: skip
    assert feed.snapshot() is None
    clock.now_us = clock.committed_us = 101 * MINUTE + 1
    assert feed.update() is None
    assert feed.due_us == 102 * MINUTE
    view.add_trade(traded(7, 101 * MINUTE + 5))
    assert candles(feed.update()) == [(101, "100.00000000", 1, False)]
    clock.now_us = 102 * MINUTE + 1
    # A trade of the minute that has passed may still be on its way.
    assert feed.update() is None
    view.add_trade(traded(8, 101 * MINUTE + 9, price=101))
    clock.committed_us = clock.now_us
    assert candles(feed.update()) == [(101, "101.00000000", 2, True), (102, "101.00000000", 0, False)]
    clock.now_us = clock.committed_us = 105 * MINUTE
    ended = [(minute, "101.00000000", 0, True) for minute in (102, 103, 104)]
    assert candles(feed.update()) == [*ended, (105, "101.00000000", 0, False)]
    # Nobody is told of a thousand minutes.
    clock.now_us = clock.committed_us = 2_000 * MINUTE
    told = candles(feed.update())
    assert (len(told), told[-1], feed.due_us) == (11, (2_000, "101.00000000", 0, False), 2_001 * MINUTE)


def test_what_one_order_took_is_one_even_if_it_is_much() -> None:
    market, tape, now = default_markets()[0], Tape(), Clock(5)
    view = PublicMarket(market)
    more: dict[str, Any] = {"combined": True, "view": lambda: view, "now_us": now}
    feed = AggregateFeed(tape, "x@aggTrade", **more)
    for number in range(1, 1_001):
        tape.add(traded(number, 5))
    for number in range(1_001, 1_004):
        tape.add(traded(number, 5, taker="c"))
    first, second = (message["data"] for message in messages(feed.update() or b""))
    assert (first["a"], first["f"], first["l"], first["q"]) == (1, 1, 1_000, "1000.00000000")
    assert (second["a"], second["l"]) == (1_001, 1_003)
    assert feed.update() is None
    tape.trim()
    # Who comes back late is told what is kept.
    assert messages(feed.catch_up(0) or b"")[-1]["data"]["l"] == 1_003
