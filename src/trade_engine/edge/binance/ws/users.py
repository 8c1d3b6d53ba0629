"""User streams: executions, order lists and balances of those who listen, in the order of the commits.

Balances are read after something moved them, a little later, so that a burst is one event.  What a balance gained or
lost beside trades is told as well, once two looks agree on it and no trade is under way.  The end of an order list is
told then, too: which orders it had is not known from the last one that ends.
"""

import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from trade_engine.domain.market import Market
from trade_engine.domain.orders import Trade
from trade_engine.domain.scale import parse_units
from trade_engine.edge.binance.numbers import fixed
from trade_engine.edge.binance.order_lists import show_list
from trade_engine.edge.binance.ws.executions import executions
from trade_engine.edge.settings import StreamSettings
from trade_engine.edge.views import BalanceView
from trade_engine.edge.ws.messages import encode
from trade_engine.edge.ws.moved import MovedUsers
from trade_engine.sequencer.publish import CommittedBatch

#: An order list as ``order_lists.show_list`` has it.
ShownList = dict[str, Any]
#: Told an event; None: some may be missing, and the stream ends.
Tell = Callable[[bytes | None], None]


class UserSubscription:
    """One stream of a user; each is another, whatever it has in common."""

    __slots__ = ("tell", "user_id")

    def __init__(self, user_id: str, tell: Tell) -> None:
        self.user_id = user_id
        self.tell = tell


class _User:
    """Who listens, what they were told, and what trades should have brought since balances were looked at first."""

    def __init__(self) -> None:
        self.subscriptions: dict[UserSubscription, None] = {}
        #: Free and locked by asset, as told; None: nobody was told yet.
        self.told: dict[str, tuple[int, int]] | None = None
        #: An order of his changed since somebody listens; and nobody was told after that.
        self.traded = False
        self.is_first = True
        #: What there was in all, moved on by trades and by what was told as moved beside them; None: not known yet.
        self.expected: dict[str, int] | None = None
        #: What two looks must agree on, and how many trades were known at the first.
        self.beside: tuple[int, dict[str, int]] | None = None
        self.trades = 0
        #: Order lists that have ended and are still to be told of.
        self.ended: dict[int, None] = {}


class UserStreams:
    """The streams of all users.

    Args:
        market: of a number.
        balances: a user's balances now; EngineError if the wallet or the database is away.
        lists: a user's order lists by their numbers; EngineError if the database is away.
    """

    def __init__(
        self,
        market: Callable[[int], Market],
        balances: Callable[[str], Awaitable[list[BalanceView]]],
        lists: Callable[[str, Sequence[int]], Awaitable[list[ShownList]]],
        settings: StreamSettings,
    ) -> None:
        self._market = market
        self._balances = balances
        self._lists = lists
        self._users: dict[str, _User] = {}
        self._moved = MovedUsers(self._look, lambda: self._users, settings)
        #: To be kept running: tells changed balances and ended order lists.
        self.run = self._moved.run

    # ---- who listens

    def subscribe(self, user_id: str, tell: Tell) -> UserSubscription:
        """Tell what happens to a user from now on."""
        subscription = UserSubscription(user_id, tell)
        self._users.setdefault(user_id, _User()).subscriptions[subscription] = None
        self._moved.add(user_id)
        return subscription

    def unsubscribe(self, subscription: UserSubscription) -> None:
        """Tell no more; again, nothing."""
        user = self._users.get(subscription.user_id)
        if user is not None:
            user.subscriptions.pop(subscription, None)
            if not user.subscriptions:
                del self._users[subscription.user_id]

    # ---- what happened

    def committed(self, batch: CommittedBatch) -> None:
        """Tell the executions of a batch."""
        if not self._users:
            return
        now_ms = time.time_ns() // 1_000_000
        for order in batch.orders:
            user = self._users.get(order.user_id)
            if user is not None:
                user.traded = True
                self._moved.add(order.user_id)
        for user_id, report in executions(batch, self._users, self._market, now_ms):
            self._tell(user_id, report)
        self._lists_of(batch)
        for trade in batch.trades:
            self._expect(trade)

    def _lists_of(self, batch: CommittedBatch) -> None:
        """Tell of new order lists, and remember which ones ended."""
        legs = {order.sequence: order for order in batch.orders if order.linked_number and order.user_id in self._users}
        for pair in batch.pairs:
            first = legs.get(pair.pair_number)
            if first is not None:
                both = (first, legs[first.linked_number])
                shown = show_list(pair, both, self._market(pair.market_id), is_open=True)
                self._tell(pair.user_id, _list_status(shown))
        for leg in legs.values():
            other = legs.get(leg.linked_number)
            # One that did not change now ended before, or this one would have ended it.
            if not leg.status.is_open and not (other is not None and other.status.is_open):
                self._users[leg.user_id].ended[leg.pair_number] = None

    def _expect(self, trade: Trade) -> None:
        """Count what a trade will move."""
        market = self._market(trade.market_id)
        for user_id, sign, fee, fee_asset in (
            (trade.buyer_user_id, 1, trade.buyer_fee, trade.buyer_fee_asset),
            (trade.seller_user_id, -1, trade.seller_fee, trade.seller_fee_asset),
        ):
            user = self._users.get(user_id)
            if user is None:
                continue
            user.trades += 1
            if user.expected is None:
                continue
            for asset, amount in (
                (market.base, sign * trade.quantity), (market.quote, -sign * trade.notional), (fee_asset, -fee)
            ):  # fmt: skip
                user.expected[asset] = user.expected.get(asset, 0) + amount

    def moved(self, users: Iterable[str]) -> None:
        """Say that these users' balances may have changed."""
        for user_id in users:
            if user_id in self._users:
                self._moved.add(user_id)

    def rebuilt(self) -> None:
        """End every stream: something may have happened that was not told."""
        users, self._users = self._users, {}
        for user in users.values():
            for subscription in list(user.subscriptions):
                subscription.tell(None)

    def _tell(self, user_id: str, event: dict[str, Any]) -> None:
        user = self._users.get(user_id)
        content = encode(event)
        for subscription in () if user is None else list(user.subscriptions):
            subscription.tell(content)

    # ---- what is looked up

    async def _look(self, user_id: str) -> None:
        await self._tell_ended_lists(user_id)
        await self._tell_balances(user_id)

    async def _tell_ended_lists(self, user_id: str) -> None:
        user = self._users.get(user_id)
        if user is None or not user.ended:
            return
        numbers = list(user.ended)
        for shown in await self._lists(user_id, numbers):
            self._tell(user_id, _list_status(shown))
        for number in numbers:
            user.ended.pop(number)

    async def _tell_balances(self, user_id: str) -> None:
        user = self._users.get(user_id)
        if user is None:
            return
        trades, traded = user.trades, user.traded
        rows = await self._balances(user_id)
        now = {row.asset: (parse_units(row.available), parse_units(row.reserved)) for row in rows}
        told = now if user.told is None else user.told
        if traded and user.is_first:
            # His first order may have moved money before he was looked at first: all of it is told.
            told, user.is_first = {}, False
        changed = {asset: held for asset, held in now.items() if told.get(asset, (0, 0)) != held}
        if changed:
            self._tell(user_id, _position(changed))
        user.told = now
        if trades == user.trades and not any(parse_units(row.pending) for row in rows):
            self._compare(user_id, user, {asset: sum(held) for asset, held in now.items()})
        else:
            # Until its trades are settled nobody can tell what moved beside them.
            user.beside = None

    def _compare(self, user_id: str, user: _User, totals: dict[str, int]) -> None:
        """Tell what moved beside trades; not before a second look says the same."""
        known = user.expected or {}
        beside = {
            asset: moved
            for asset in sorted(totals.keys() | known.keys())
            if (moved := totals.get(asset, 0) - known.get(asset, 0))
        }
        if user.beside != (user.trades, beside):
            user.beside = user.trades, beside
            if beside or user.expected is None:
                self._moved.add(user_id)
            return
        for asset, moved in beside.items() if user.expected is not None else ():
            self._tell(user_id, _moved(asset, moved))
        user.expected = totals


def _list_status(shown: ShownList) -> dict[str, Any]:
    return {
        "e": "listStatus",
        "E": time.time_ns() // 1_000_000,
        "s": shown["symbol"],
        "g": shown["orderListId"],
        "c": shown["contingencyType"],
        "l": shown["listStatusType"],
        "L": shown["listOrderStatus"],
        "r": "NONE",
        "C": shown["listClientOrderId"],
        "T": shown["transactionTime"],
        "O": [{"s": leg["symbol"], "i": leg["orderId"], "c": leg["clientOrderId"]} for leg in shown["orders"]],
    }


def _position(changed: dict[str, tuple[int, int]]) -> dict[str, Any]:
    now_ms = time.time_ns() // 1_000_000
    rows = [{"a": asset, "f": fixed(free), "l": fixed(locked)} for asset, (free, locked) in sorted(changed.items())]
    return {"e": "outboundAccountPosition", "E": now_ms, "u": now_ms, "B": rows}


def _moved(asset: str, amount: int) -> dict[str, Any]:
    now_ms = time.time_ns() // 1_000_000
    return {"e": "balanceUpdate", "E": now_ms, "a": asset, "d": fixed(amount), "T": now_ms}
