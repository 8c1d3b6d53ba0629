"""A cheap, seeded stream of commands that reaches every feature and every refusal of the core.

Prices crowd around a slowly moving middle, so that books stay small, crossed often and full of ties; a few users
meet themselves often; rules and states change now and then.  The same seed gives the same bytes, for one who tells
it the same live orders (``know``); told nothing, it guesses which orders live, and more of it is refused.
"""

import random
from collections import deque
from collections.abc import Iterator

from trade_engine.domain.commands import Command, CommandKind, OrderFlag, RuleFlag, encode_command
from trade_engine.domain.enums import MarketState, OrderType, Reason, TimeInForce

MARKET = 7
_LIFE_US = 3_000
_REMEMBERED = 300


class RandomFlow:
    """The stream; ``batch`` gives the next records."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.sequence = 0
        self.time_us = 1_000_000
        self._middle = 1_000
        self._state = MarketState.OPEN
        #: Orders that may still be live: number, user, side; those known to live; those that have another leg.
        self._placed: deque[tuple[int, int, int]] = deque([(1, 1, 0)], maxlen=_REMEMBERED)
        self._live: list[int] = []
        self._linked: set[int] = set()
        self._triggers = False

    def know(self, live: list[int], linked: set[int], triggers: bool = False) -> None:
        """Tell which orders live now, which of them cannot be linked (any more), and whether stops are due to enter."""
        self._live, self._linked, self._triggers = live, linked, triggers

    def batch(self, count: int) -> bytes:
        """The next ``count`` command records."""
        return b"".join([encode_command(self.next()) for _ in range(count)])

    def commands(self, count: int) -> Iterator[Command]:
        """The next ``count`` commands."""
        return (self.next() for _ in range(count))

    def next(self) -> Command:
        """The next command."""
        bits = self._random.getrandbits(10)
        self.sequence += 1
        self.time_us += bits & 3
        if self._triggers and bits & 15:
            self._triggers = self._random.getrandbits(1) == 0
            return self._command(CommandKind.TRIGGER)
        if self._state != MarketState.OPEN and bits & 31 == 0:
            return self._set_state(MarketState.OPEN)
        if bits < 690:
            return self._place()
        if bits < 760:
            cancel = self._to_one(CommandKind.CANCEL)
            if cancel.order_number in self._live:
                self._live.remove(cancel.order_number)
            return cancel
        if bits < 850:
            return self._to_one(CommandKind.REDUCE, quantity=self._random.randint(0 if bits & 31 == 0 else 1, 40))
        if bits < 1012:
            return self._amend()
        return self._rare()

    def _command(self, kind: int, **fields: int) -> Command:
        return Command(kind, self.sequence, self.time_us, MARKET, **fields)

    def _price(self, side: int) -> int:
        """Mostly a little worse than the middle, sometimes across it."""
        distance = self._random.randint(-6, 30)
        return max(1, self._middle + (distance if side else -distance))

    def _recent(self) -> int:
        """The number of an order that may be live, rarely one that never was."""
        draw = self._random
        if self._live and draw.getrandbits(6):
            return draw.choice(self._live)
        return draw.choice(self._placed)[0] if draw.getrandbits(4) else draw.randint(1, self.sequence)

    def _first_leg(self) -> tuple[int, int, int] | None:
        """An order to link a new one to: one of the last that is whole, if any."""
        live = set(self._live[-64:])
        for order in reversed(self._placed):
            if order[0] in live and order[0] not in self._linked:
                return order
        return None if self._live else self._placed[-1]

    def _place(self) -> Command:
        draw = self._random
        side, kind = draw.getrandbits(1), draw.getrandbits(6)
        fields = {
            "order_number": self.sequence,
            "user": draw.randint(1, 9),
            "side": side,
            "quantity": draw.randint(1, 60),
        }
        if draw.getrandbits(1):
            fields["stp"] = draw.randint(0, 4)
        if kind < 44:
            fields["price"] = self._price(side)
            fields["time_in_force"] = draw.choice((0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 2, 3, 4))
            if fields["time_in_force"] in (1, 2):
                fields["price"] = self._price(1 - side)
        elif kind < 50:
            fields["type"] = OrderType.MARKET
            fields["time_in_force"] = draw.choice((0, 0, 1, 2))
        else:
            fields["type"] = OrderType.STOP if kind < 57 else OrderType.STOP_LIMIT
            fields["stop_price"] = self._price(1 - side)
            if draw.getrandbits(1):
                fields["flags"] = int(OrderFlag.REVERSED)
            fields["time_in_force"] = draw.choice((0, 0, 1, 2, 4))
            if kind >= 57:
                fields["price"] = self._price(side)
        self._decorate(fields)
        if draw.getrandbits(6) == 0:
            self._spoil(fields)
        if fields.get("time_in_force", 0) not in (1, 2) and fields.get("type", 0) != OrderType.MARKET:
            self._placed.append((fields["order_number"], fields["user"], side))
        return self._command(CommandKind.PLACE, **fields)

    def _decorate(self, fields: dict[str, int]) -> None:
        """Add the options that suit the order, each now and then."""
        draw = self._random
        tif, type_ = fields.get("time_in_force", 0), fields.get("type", 0)
        rests = "price" in fields and tif not in (TimeInForce.IOC, TimeInForce.FOK)
        if tif in (TimeInForce.DAY, TimeInForce.GTD) or draw.getrandbits(2) == 0:
            fields["expires_us"] = self.time_us + draw.randint(1, _LIFE_US)
        if rests and draw.getrandbits(3) == 0:
            fields["display"] = draw.randint(1, fields["quantity"])
        if rests and draw.getrandbits(3) == 0:
            fields["flags"] = fields.get("flags", 0) | OrderFlag.POST_ONLY
        first_leg = self._first_leg() if rests or type_ == OrderType.STOP else None
        if first_leg and draw.getrandbits(2) == 0:
            fields["linked_number"], fields["user"], fields["side"] = first_leg
            if draw.getrandbits(6) == 0:
                fields["linked_number"] = self._recent()
            self._linked |= {first_leg[0], fields["order_number"]}
        if fields["side"] == 0 and draw.getrandbits(2) == 0:
            fields["flags"] = fields.get("flags", 0) | OrderFlag.LIMITED_NOTIONAL
            fields["max_notional"] = fields["quantity"] * self._middle + draw.randint(-8_000, 8_000)
            if type_ == OrderType.MARKET and draw.getrandbits(1):
                fields["flags"] |= OrderFlag.QUOTE_AMOUNT
                fields["quantity"] = 0

    def _spoil(self, fields: dict[str, int]) -> None:
        """Make one field wrong or extreme."""
        draw = self._random
        name = draw.choice(
            ("order_number", "user", "side", "type", "time_in_force", "stp", "flags", "price", "quantity", "stop_price",
             "display", "max_notional", "expires_us", "linked_number")
        )  # fmt: skip
        if name in ("side", "type", "time_in_force", "stp", "flags"):
            fields[name] = draw.choice((0, 1, 2, 3, 4, 5, 7, 8, 255))
        else:
            fields[name] = draw.choice((0, -1, self._recent(), 1 << 40, 9_000_000_000_000_000_000, (1 << 63) - 1))

    def _to_one(self, kind: int, quantity: int = 0) -> Command:
        reason = Reason.ADMIN_REQUEST if self._random.getrandbits(4) == 0 else 0 if self._random.getrandbits(8) else 3
        return self._command(kind, order_number=self._recent(), reason=reason, quantity=quantity)

    def _amend(self) -> Command:
        draw = self._random
        fields = {"order_number": self._recent()}
        what = draw.randint(1, 6) if draw.getrandbits(5) else 0
        if what & 1:
            fields["quantity"] = draw.randint(-1, 70)
        if what & 2:
            fields["price"] = self._price(draw.getrandbits(1))
        if what == 4 and draw.getrandbits(2):
            fields["quantity"] = draw.randint(1, 70)
        elif what == 4:
            fields["stop_price"] = self._price(draw.getrandbits(1))
        if draw.getrandbits(4) == 0:
            fields["flags"] = int(OrderFlag.LIMITED_NOTIONAL)
            fields["max_notional"] = draw.randint(0, 100_000)
        return self._command(CommandKind.AMEND, **fields)

    def _rare(self) -> Command:
        draw = self._random
        what = draw.getrandbits(4)
        if what < 4:
            self._middle = min(max(700, self._middle + draw.randint(-15, 15)), 1_500)
            return self._command(CommandKind.TICK, quantity=draw.choice((0, 0, 1, 3, -1)))
        if what < 5:
            return self._command(CommandKind.CANCEL_ALL, user=draw.randint(-1, 9), quantity=draw.choice((1, 1, 5, 40)))
        if what < 6:
            return self._set_state(draw.choice((1, 2, 3, 4)))
        if what < 7:
            return self._configure()
        if what < 11:
            return self._command(draw.choice((0, CommandKind.TRIGGER, 10, 255)), order_number=self._recent())
        if what < 12:
            return self._command(CommandKind.CANCEL, order_number=self._recent())._replace(market_id=MARKET + 1)
        self.time_us += draw.randint(0, 500)
        return self._place()

    def _set_state(self, state: int) -> Command:
        if state <= MarketState.CLOSED:
            self._state = MarketState(state)
        return self._command(CommandKind.SET_STATE, state=state)

    def _configure(self) -> Command:
        """Change the rules; each is off about half the time."""
        draw = self._random

        def maybe(low: int, high: int) -> int:
            return draw.randint(low, high) if draw.getrandbits(1) else 0

        return self._command(
            CommandKind.CONFIGURE,
            price=maybe(40_000, 120_000),
            stop_price=maybe(0, 8_000),
            quantity=maybe(1, 2_500),
            display=maybe(3, 12) if draw.getrandbits(1) else 0,
            max_notional=maybe(1, 6) if draw.getrandbits(5) else -1,
            flags=draw.choice((0, RuleFlag.CASCADE_BUDGET, RuleFlag.CASCADE_BUDGET)) if draw.getrandbits(5) else 2,
        )
