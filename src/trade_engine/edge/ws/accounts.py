"""Private channels: what happened to a user's orders, fills and balances, told to that user's connections alone.

Orders and fills come from the commit itself.  Balances are read from the wallet after something moved them, a little
later, so that a burst is one message.  Each subscription counts its own messages; ``stream`` changes when something
may have been missed.
"""

import uuid
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final

from trade_engine.domain.market import Market
from trade_engine.domain.orders import Order, Trade
from trade_engine.edge.settings import StreamSettings
from trade_engine.edge.views import BalanceView, show_order, show_own_trade
from trade_engine.edge.ws.hub import Reader
from trade_engine.edge.ws.messages import encode, text_frame
from trade_engine.edge.ws.moved import MovedUsers

ORDERS: Final = "orders"
FILLS: Final = "fills"
BALANCES: Final = "balances"
PRIVATE: Final = (ORDERS, FILLS, BALANCES)


class Subscription:
    """What one connection has had of a channel; what happens before its snapshot is held back until after it."""

    __slots__ = ("held", "sequence")

    def __init__(self) -> None:
        self.sequence = 0
        self.held: list[bytes] | None = []


class UserConnections:
    """The connections of one user, by channel."""

    def __init__(self) -> None:
        self.readers: dict[str, dict[Reader, Subscription]] = {channel: {} for channel in PRIVATE}
        #: What they were last told, by asset; None: nobody was told yet.
        self.balances: dict[str, BalanceView] | None = None

    def __bool__(self) -> bool:
        return any(self.readers.values())


class Accounts:
    """Private channels and their readers.

    Args:
        market: of a number.
        balances: a user's balances now; EngineError if the wallet or the database is away.
    """

    def __init__(
        self,
        market: Callable[[int], Market],
        balances: Callable[[str], Awaitable[list[BalanceView]]],
        settings: StreamSettings,
    ) -> None:
        self._market = market
        self._balances = balances
        self._accounts: dict[str, UserConnections] = {}
        self._moved = MovedUsers(self._tell_balances, self._readers_of_balances, settings)
        #: To be kept running: tells changed balances.
        self.run = self._moved.run
        self.stream = uuid.uuid4().hex

    # ---- what happened

    def committed(self, orders: Iterable[Order], trades: Iterable[Trade]) -> None:
        """Tell what a batch changed."""
        accounts = self._accounts
        if not accounts:
            return
        for order in orders:
            account = accounts.get(order.user_id)
            if account is not None:
                if account.readers[ORDERS]:
                    self._tell(account, ORDERS, show_order(order, self._market(order.market_id)))
                self.moved((order.user_id,))
        for trade in trades:
            for user_id in {trade.buyer_user_id, trade.seller_user_id}:
                account = accounts.get(user_id)
                if account is not None and account.readers[FILLS]:
                    self._tell(account, FILLS, show_own_trade(trade, self._market(trade.market_id), user_id))

    def moved(self, users: Iterable[str]) -> None:
        """Say that these users' balances may have changed."""
        for user_id in users:
            account = self._accounts.get(user_id)
            if account is not None and account.readers[BALANCES]:
                self._moved.add(user_id)

    def _readers_of_balances(self) -> list[str]:
        return [user_id for user_id, account in self._accounts.items() if account.readers[BALANCES]]

    def restart(self) -> list[tuple[Reader, str]]:
        """Begin a new stream, because something may have been missed; who needs a new snapshot of which channel."""
        self.stream = uuid.uuid4().hex
        again = []
        for account in self._accounts.values():
            for channel, readers in account.readers.items():
                for reader in readers:
                    readers[reader] = Subscription()
                    again.append((reader, channel))
        return again

    # ---- who reads

    def subscribe(self, user_id: str, channel: str, reader: Reader) -> None:
        """Let a connection of the user have a channel from now on; it gets nothing before ``snapshot``."""
        account = self._accounts.setdefault(user_id, UserConnections())
        account.readers[channel][reader] = Subscription()

    async def balances(self, user_id: str) -> list[BalanceView]:
        """All balances, to begin with.

        Raises:
            EngineError: the wallet or the database is away.
        """
        rows = await self._balances(user_id)
        account = self._accounts.get(user_id)
        if account is not None and account.balances is None:
            account.balances = {row.asset: row for row in rows}
        self.moved((user_id,))
        return rows

    def snapshot(self, user_id: str, channel: str, reader: Reader, content: Any) -> None:
        """Give a subscriber the state, read since it subscribed, and then what happened meanwhile."""
        account = self._accounts.get(user_id)
        subscription = account.readers[channel].get(reader) if account is not None else None
        if subscription is None or subscription.held is None:
            return
        held, subscription.held = subscription.held, None
        self._put(subscription, channel, reader, b'"snapshot":true,"data":' + encode(content))
        for rest in held:
            self._put(subscription, channel, reader, rest)

    def unsubscribe(self, user_id: str, channel: str, reader: Reader) -> None:
        """Let a connection have a channel no longer."""
        account = self._accounts.get(user_id)
        if account is not None:
            account.readers[channel].pop(reader, None)
            if not account.readers[BALANCES]:
                account.balances = None
            if not account:
                del self._accounts[user_id]

    # ---- telling

    def _tell(self, account: UserConnections, channel: str, content: Any) -> None:
        rest = b'"data":' + encode(content)
        for reader, subscription in account.readers[channel].items():
            self._put(subscription, channel, reader, rest)

    def _put(self, subscription: Subscription, channel: str, reader: Reader, rest: bytes) -> None:
        if subscription.held is not None:
            subscription.held.append(rest)
            return
        subscription.sequence += 1
        head = f'{{"type":"{channel}","stream":"{self.stream}","sequence":{subscription.sequence},'
        reader.send(text_frame(head.encode() + rest + b"}"))

    async def _tell_balances(self, user_id: str) -> None:
        rows = await self._balances(user_id)
        account = self._accounts.get(user_id)
        if account is None or not account.readers[BALANCES]:
            return
        known = account.balances or {}
        account.balances = {row.asset: row for row in rows}
        changed = [row for row in rows if known.get(row.asset) != row]
        if changed:
            self._tell(account, BALANCES, changed)
