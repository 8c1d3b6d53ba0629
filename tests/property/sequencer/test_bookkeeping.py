"""Valid and weird orders of every kind, through rules, core and bookkeeping: no check of a table is ever broken.

What a table refuses is refused for the whole batch it is in, and costs everybody a rebuild: so nothing that a trader
can send may come that far.
"""

import random
from collections import Counter

import pytest

from tests.property.sequencer.exchange import Exchange
from trade_engine.domain.commands import Command, CommandKind, encode_command
from trade_engine.domain.enums import (
    FeeAsset,
    MarketState,
    OrderType,
    Reason,
    SelfTradePrevention,
    Side,
    TimeInForce,
)
from trade_engine.domain.errors import EngineError
from trade_engine.domain.events import EventKind
from trade_engine.domain.market import Market
from trade_engine.domain.orders import PlaceOrder
from trade_engine.domain.rules import check_cost, check_order
from trade_engine.domain.scale import MAX_UNITS, UNIT
from trade_engine.matching.books import default_kind, new_book
from trade_engine.sequencer.amending import AmendRequest
from trade_engine.sequencer.new_order import funds_needed
from trade_engine.sequencer.ports import Amendment

_SEEDS = range(120)
_COMMANDS = 150
_SCALES = ((UNIT // 100, 100), (1, UNIT), (UNIT, 1), (UNIT // 10, 1_000), (10_000, 100_000))


def _market(draw: random.Random) -> Market:
    tick, lot = draw.choice(_SCALES)
    return Market(
        market_id=1,
        symbol="A/B",
        base="A",
        quote="B",
        tick_size=tick,
        lot_size=lot,
        min_quantity=lot,
        maker_fee=draw.choice((0, 333, 50_000, UNIT - 1)),
        taker_fee=draw.choice((0, 1, 50_000, 7_777_777)),
        fee_asset=draw.choice(list(FeeAsset)),
        max_slippage_ppm=draw.choice((0, 1_000, 50_000)),
        max_open_orders=draw.choice((0, 15)),
        max_fills=draw.choice((0, 1, 1, 2, 3, 50)),
        min_display_ppm=draw.choice((0, 50_000)),
    )


class Traders:
    """Three users who want any thing that the API lets them ask for."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        self.exchange = Exchange(_market(self.draw), self.draw.choice(("reference", default_kind())))
        self.middle = self.draw.choice((3, 100, 5_000))
        #: Amendments that have reserved and wait for their turn, while their orders change.
        self.waiting: list[AmendRequest] = []
        self.happened: Counter[tuple[int, int]] = Counter()
        self.refused: Counter[str] = Counter()
        self.amended: Counter[str] = Counter()

    def go_on(self) -> None:
        """One more command."""
        draw, exchange = self.draw, self.exchange
        exchange.time_us += draw.randint(0, 50)
        what = draw.random()
        if exchange.book.triggers_due() and draw.random() < 0.5:
            self._note(exchange.send(Command(CommandKind.TRIGGER, 0, 0, 1)))
            return
        try:
            if what < 0.6 or not exchange.live.by_sequence:
                self._note(exchange.place(self._request(), draw.randint(1, 3)))
            elif what < 0.8:
                self._note(self._amend())
            else:
                self._note(exchange.send(self._leaving(what)))
        except EngineError as refusal:
            self.refused[refusal.code] += 1
        if draw.random() < 0.05:
            exchange.restart()

    def _note(self, events: list) -> None:  # type: ignore[type-arg]
        self.happened.update((event.kind, event.reason) for event in events)

    def _price(self) -> int:
        spread = min(self.middle - 1, 8)
        return max(1, self.middle + self.draw.randint(-spread, spread)) * self.exchange.market.tick_size

    def _request(self) -> PlaceOrder:
        draw, market = self.draw, self.exchange.market
        kind = draw.choices(list(OrderType), (7, 3, 4, 4))[0]
        side = draw.choice(list(Side))
        lots = draw.randint(1, 30)
        by_amount = kind is OrderType.MARKET and side is Side.BUY and draw.random() < 0.5
        lasting = draw.choice(list(TimeInForce))
        priced, stopped = (
            kind in (OrderType.LIMIT, OrderType.STOP_LIMIT),
            kind in (OrderType.STOP, OrderType.STOP_LIMIT),
        )
        amount = draw.choice((draw.randint(0, 3), draw.randint(1, self.middle * 40) * market.notional_unit))
        return PlaceOrder(
            user_id="user",
            symbol="A/B",
            side=side,
            type=kind,
            quantity=0 if by_amount else lots * market.lot_size,
            price=self._price() if priced else 0,
            stop_price=self._price() if stopped else 0,
            take_profit=stopped and draw.random() < 0.4,
            time_in_force=lasting,
            stp=draw.choice(list(SelfTradePrevention)),
            post_only=priced and draw.random() < 0.15,
            display_quantity=draw.randint(1, lots) * market.lot_size if priced and draw.random() < 0.4 else 0,
            quote_amount=amount + draw.randint(0, 99) if by_amount else 0,
            expires_us=self.exchange.time_us + draw.randint(1, 2_000) if lasting is TimeInForce.GTD else 0,
        )

    def _amend(self) -> list:  # type: ignore[type-arg]
        draw, exchange = self.draw, self.exchange
        order = draw.choice(list(exchange.live.by_sequence.values()))
        change = Amendment(
            quantity=draw.randint(1, 40) * exchange.market.lot_size if draw.random() < 0.6 else 0,
            price=self._price() if order.price and draw.random() < 0.6 else 0,
            stop_price=self._price() if order.stop_price and draw.random() < 0.5 else 0,
        )
        self.waiting.append(exchange.amendment(order, change))
        if len(self.waiting) < 8 and draw.random() < 0.4:
            return []
        request = self.waiting.pop(draw.randrange(len(self.waiting)))
        now = exchange.live.by_id.get(request.order_id)
        if now is not None and now.expires_us and now.expires_us <= exchange.time_us:
            return exchange.send(Command(CommandKind.TICK, 0, 0, 1, quantity=2))
        events = exchange.amend(request)
        self.amended["order gone" if now is None else "too little" if request.short_by > 0 else "done"] += 1
        return events

    def _leaving(self, what: float) -> Command:
        draw, exchange = self.draw, self.exchange
        order = draw.choice(list(exchange.live.by_sequence.values()))
        if what < 0.88:
            return Command(CommandKind.CANCEL, 0, 0, 1, order.sequence, order.user, reason=Reason.USER_REQUEST)
        if what < 0.91:
            return Command(CommandKind.REDUCE, 0, 0, 1, order.sequence, order.user, quantity=draw.randint(1, 10))
        if what < 0.94:
            exchange.time_us += draw.randint(0, 3_000)
            return Command(CommandKind.TICK, 0, 0, 1, quantity=draw.randint(1, 9))
        if what < 0.96:
            return Command(CommandKind.SET_STATE, 0, 0, 1, state=draw.choice((*[MarketState.OPEN] * 6, *MarketState)))
        return Command(CommandKind.CANCEL_ALL, 0, 0, 1, user=draw.randint(1, 3), quantity=draw.randint(1, 5))


@pytest.mark.parametrize("seed", _SEEDS)
async def test_nothing_that_a_trader_can_send_breaks_a_table_or_an_invariant(seed: int) -> None:
    traders = Traders(seed)
    for _ in range(_COMMANDS):
        traders.go_on()


async def test_the_traders_try_everything() -> None:
    happened: Counter[tuple[int, int]] = Counter()
    refused: Counter[str] = Counter()
    amended: Counter[str] = Counter()
    for seed in range(1_000, 1_040):
        traders = Traders(seed)
        for _ in range(_COMMANDS):
            traders.go_on()
        happened += traders.happened
        refused += traders.refused
        amended += traders.amended
    assert {kind for kind, _ in happened} >= set(EventKind) - {EventKind.CONFIGURED}
    reasons = {Reason(reason) for kind, reason in happened if kind != EventKind.STATE_CHANGED}
    assert reasons >= {
        Reason.SELF_TRADE, Reason.MAX_NOTIONAL_REACHED, Reason.MAX_FILLS_REACHED, Reason.DAY_END, Reason.GOOD_TILL_DATE,
        Reason.TRIGGER_REFUSED, Reason.FOK_REMAINDER, Reason.TRIGGERS_WAITING, Reason.MARKET_HALTED,
    }  # fmt: skip
    assert refused.keys() >= {"INVALID_QUOTE_AMOUNT", "INVALID_DISPLAY_QUANTITY", "INVALID_FLAGS"}
    assert amended.keys() == {"order gone", "too little", "done"}


@pytest.mark.parametrize("seed", range(20))
def test_the_largest_numbers_are_refused_or_fit_every_record(seed: int) -> None:
    """No order may reach the wallet or the core with a number that no column and no record holds."""
    draw = random.Random(seed)
    market = _market(draw)
    taken = 0
    for number in range(500):
        kind, side = draw.choice(list(OrderType)), draw.choice(list(Side))
        request = PlaceOrder(
            user_id="user",
            symbol="A/B",
            side=side,
            type=kind,
            quantity=_large(draw, market.lot_size),
            price=_large(draw, market.tick_size) if kind in (OrderType.LIMIT, OrderType.STOP_LIMIT) else 0,
            stop_price=_large(draw, market.tick_size) if kind >= OrderType.STOP else 0,
        )
        book = new_book(1, "reference")
        for ask in range(draw.randint(0, 3)):
            book.place(ask + 1, 1, Side.SELL, MAX_UNITS // 10 ** draw.randint(0, 18), 10 ** draw.randint(0, 4))
        try:
            check_order(request, market)
            flags, limit, reserved = funds_needed(request, market, book)
            check_cost(max(reserved, limit), market)
        except EngineError:
            continue
        taken += 1
        assert 0 <= reserved < 1 << 63, request
        encode_command(
            Command(
                CommandKind.PLACE, number, 1, 1, number, 1, side, kind, flags=flags,
                price=request.price // market.tick_size, quantity=request.quantity // market.lot_size,
                stop_price=request.stop_price // market.tick_size, max_notional=limit // market.notional_unit,
            )
        )  # fmt: skip
    assert taken


def _large(draw: random.Random, step: int) -> int:
    """A multiple of ``step`` of any size that a request may have."""
    size: int = 10 ** draw.randint(0, 18) * draw.randint(1, 9)
    return max(step, size // step * step)
