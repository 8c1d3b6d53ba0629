"""One client's session: its login, its subscriptions, its commands and their answers.

Every command gets exactly one answer.  Those that wait for the engine run side by side, so many at a time; an order
is acknowledged after its commit, as over REST.
"""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import Any, Final, Protocol

import structlog

from trade_engine.domain.errors import EngineError, InvalidRequest, Unavailable
from trade_engine.edge import json_orders
from trade_engine.edge.auth.tokens import TRADER, Principal
from trade_engine.edge.caller import permit
from trade_engine.edge.limits import Demand, LocalLimits
from trade_engine.edge.problems import Forbidden, RateLimited, TooMany, Unauthorized
from trade_engine.edge.services import Services
from trade_engine.edge.settings import LOGINS, ORDERS, PUBLIC, QUERIES, LimitSettings, RateLimit, StreamSettings
from trade_engine.edge.times import show_time
from trade_engine.edge.views import OrderView
from trade_engine.edge.ws.accounts import BALANCES, FILLS, PRIVATE, Accounts
from trade_engine.edge.ws.commands import (
    Amend,
    Auth,
    Cancel,
    CancelAll,
    CancelOnDisconnect,
    Ping,
    Place,
    SocketCommand,
    Subscribe,
    UnreadableCommand,
    Unsubscribe,
    read_command,
)
from trade_engine.edge.ws.hub import EVERY, Hub, Reader, Topic, paced
from trade_engine.edge.ws.logins import is_strange, login
from trade_engine.edge.ws.messages import failure_frame, response_frame
from trade_engine.marketdata.intervals import INTERVALS

NOT_JSON: Final = 4400
STOPPING: Final = "the engine stops, nothing was done: come back"
log = structlog.get_logger(__name__)

MARKET_CHANNELS: Final = ("trades", "ticker", "tickers", "candles", "depth", "book")
#: Levels a ``depth`` subscription may be limited to.
LEVELS: Final = (5, 10, 20, 50)
#: Milliseconds that its updates may be apart at the reader's wish, and the channels that have this.
PAUSES_MS: Final = (100, 1_000)
PACED: Final = ("trades", "depth", "book")
_UNREADABLE_MAX: Final = 10
_YEAR_10000_S: Final = 253_402_300_800
#: Beyond so many orders of a connection, those that ended are forgotten.
_PLACED_MAX: Final = 1_000


class SessionConnection(Reader, Protocol):
    """What a session needs of its connection."""

    #: The client's address, and what that counts as.
    client: str
    address: str

    def close(self, code: int, reason: str) -> None:
        """Say goodbye."""


class SessionServer(Protocol):
    """What a session needs of the server that it is at."""

    services: Services
    settings: StreamSettings
    hub: Hub
    accounts: Accounts
    #: Set: the engine stops, and takes no more commands.
    stopping: bool
    #: Seconds since 1970.
    now_s: Callable[[], float]

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something that outlives the connection."""

    async def open_orders(self, user_id: str) -> list[OrderView]:
        """A user's newest open orders."""


class Session:
    """What one connection may do and has asked for.

    Args:
        principal: whom it logged in as with the handshake.
        named: told the user of a connection that logs in later; TooMany if he has too many.
    """

    def __init__(
        self,
        server: SessionServer,
        connection: SessionConnection,
        principal: Principal | None,
        named: Callable[[str], None],
    ) -> None:
        self._server = server
        self._services = server.services
        self._callers = server.services.callers
        self._connection = connection
        self._named = named
        self.principal = principal
        self._topics: set[Topic] = set()
        self._private: set[str] = set()
        rate = RateLimit(server.settings.commands_per_s, server.settings.commands_burst)
        self._limits = LocalLimits(LimitSettings(orders=rate, max_callers=1))
        self._running: set[asyncio.Task[None]] = set()
        self._unreadable = 0
        self._placed: set[str] = set()
        self._cancel_on_disconnect = False

    @property
    def principals(self) -> tuple[Principal, ...]:
        """Whom it is logged in as."""
        return () if self.principal is None else (self.principal,)

    def opened(self) -> None:
        """Nothing: a client speaks first."""

    @property
    def under_way(self) -> int:
        """How many commands are being carried out."""
        return len(self._running)

    def expired(self) -> bool:
        """Whether it had a login that has ended."""
        return self.principal is not None and self.principal.expires_s <= self._server.now_s()

    # ---- commands

    def receive(self, message: bytes) -> None:
        """Carry a message out, or say why not."""
        try:
            command = read_command(message)
        except UnreadableCommand as unreadable:
            self._connection.send(failure_frame(unreadable.op, unreadable.command_id, unreadable.error))
            self._unreadable = self._unreadable + 1 if unreadable.error.code == "INVALID_JSON" else 0
            if self._unreadable >= _UNREADABLE_MAX:
                self._connection.close(NOT_JSON, "messages are JSON objects")
            return
        self._unreadable = 0
        op = str(command.__struct_config__.tag)
        for verdict in self._limits.take_now([Demand(ORDERS, "")]):
            if not verdict.allowed:
                self._connection.send(failure_frame(op, command.id, RateLimited(verdict.retry_after_s)))
                return
        if self._server.stopping:
            self._connection.send(failure_frame(op, command.id, Unavailable("ENGINE_UNAVAILABLE", STOPPING)))
            return
        if isinstance(command, Unsubscribe | Subscribe | Ping | CancelOnDisconnect) and not self._reads(command):
            self._answer_at_once(op, command)
            return
        if len(self._running) >= self._server.settings.commands_at_once:
            error = TooMany("TOO_MANY_COMMANDS", "too many commands are under way", limit=len(self._running))
            self._connection.send(failure_frame(op, command.id, error))
            return
        task = asyncio.create_task(self._carry_out(op, command))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    @staticmethod
    def _reads(command: SocketCommand) -> bool:
        """Whether the command waits for a database or the wallet."""
        return type(command) is Subscribe and command.channel in PRIVATE

    def _answer_at_once(self, op: str, command: SocketCommand) -> None:
        after: Callable[[], None] | None = None
        try:
            if isinstance(command, Ping):
                content: Any = {"time": show_time(int(self._server.now_s() * 1e6))}
            elif isinstance(command, CancelOnDisconnect):
                self._trader("trade")
                self._cancel_on_disconnect = command.enabled
                content = {"enabled": command.enabled}
            else:
                content, after = self._subscription(command)  # type: ignore[arg-type]
        except EngineError as error:
            self._connection.send(failure_frame(op, command.id, error))
            return
        self._connection.send(response_frame(op, command.id, content))
        if after is not None:
            after()

    async def _carry_out(self, op: str, command: SocketCommand) -> None:
        after: Callable[[], None] | None = None
        try:
            if isinstance(command, Auth):
                content = await self._login(command)
            elif isinstance(command, Subscribe):
                content, after = await self._private_subscription(command)
            else:
                content = await self._order_command(command)
            frame = response_frame(op, command.id, content)
        except EngineError as error:
            frame = failure_frame(op, command.id, error)
        except Exception:
            log.exception("command_failed", op=op)
            frame = failure_frame(op, command.id, EngineError("INTERNAL_ERROR", "a fault of the server"))
        self._connection.send(frame)
        if after is not None:
            after()

    # ---- login

    def _trader(self, scope: str) -> Principal:
        """The trader who is logged in.

        Raises:
            Unauthorized, Forbidden: nobody is, or may not do this.
        """
        principal = self.principal
        if principal is None or self.expired():
            raise Unauthorized("UNAUTHORIZED", "log in first: auth, or a token with the handshake")
        permit(principal, TRADER, scope)
        return principal

    async def _login(self, command: Auth) -> dict[str, Any]:
        address = self._connection.address
        strange = is_strange(self._callers, command)
        if strange:
            await self._callers.require_room(LOGINS, address)
        try:
            principal = await login(self._callers, command, self._connection.client)
        except Unauthorized:
            if not strange:
                await self._callers.require_room(PUBLIC, address)
            raise
        if self.principal is None:
            self._named(principal.user_id)
        elif principal.user_id != self.principal.user_id:
            raise Forbidden("FORBIDDEN", "the connection belongs to another user", field="token")
        self.principal = principal
        ends = show_time(int(principal.expires_s * 1e6)) if principal.expires_s < _YEAR_10000_S else None
        return {"user_id": principal.user_id, "expires_at": ends}

    # ---- orders

    async def _order_command(self, command: SocketCommand) -> Any:
        """Carry an order command out, as the REST route that does the same."""
        principal = self._trader("trade")
        await self._callers.require_live(principal)
        await self._callers.require_room(ORDERS, self._connection.address, principal.user_id)
        desk = self._services.desk
        if isinstance(command, Place):
            placed = await json_orders.place(desk, principal, bytes(command.order))
            self._remember(placed.order.id)
            return placed
        if isinstance(command, Cancel):
            return await json_orders.cancel(desk, principal, command.order_id)
        if isinstance(command, Amend):
            return await json_orders.amend(desk, principal, command.order_id, bytes(command.change))
        return await json_orders.cancel_all(desk, principal, command.symbol if isinstance(command, CancelAll) else None)

    def _remember(self, order_id: str) -> None:
        self._placed.add(order_id)
        if len(self._placed) > _PLACED_MAX:
            self._placed = {known for known in self._placed if self._services.desk.is_live(known)}

    # ---- subscriptions

    def _subscription(self, command: Subscribe) -> tuple[dict[str, Any], Callable[[], None] | None]:
        """What to answer, and what to do after the answer."""
        hub = self._server.hub
        if command.channel in PRIVATE:
            self._stop_private(command.channel)
            return {"channel": command.channel}, None
        topic, shown = self._topic(command)
        if isinstance(command, Unsubscribe):
            self._topics.discard(topic)
            hub.unsubscribe(topic, self._connection)
            return shown, None
        reader = self._services.reader
        if topic[1] == EVERY:
            for symbol in reader.markets:
                reader.ticker(symbol)
        else:
            reader.view(topic[1])
        self._room_for_one(topic in self._topics)
        self._topics.add(topic)
        return shown, lambda: hub.subscribe(topic, self._connection)

    def _room_for_one(self, known: bool) -> None:
        limit = self._server.settings.max_subscriptions
        if not known and len(self._topics) + len(self._private) >= limit:
            raise TooMany("TOO_MANY_SUBSCRIPTIONS", "the connection has too many subscriptions", limit=limit)

    def _topic(self, command: Subscribe) -> tuple[Topic, dict[str, Any]]:
        channel = command.channel
        if channel not in MARKET_CHANNELS:
            message = f"channel must be one of {', '.join((*MARKET_CHANNELS, *PRIVATE))}"
            raise InvalidRequest("UNKNOWN_CHANNEL", message, field="channel", provided=channel[:100])
        if channel == "tickers":
            if command.symbol is not None:
                message = "the channel is of all markets: leave symbol out, or subscribe to ticker"
                raise InvalidRequest("INVALID_SYMBOL", message, field="symbol", provided=command.symbol[:100])
            return (channel, EVERY, 0), {"channel": channel}
        if command.symbol is None:
            raise InvalidRequest("MISSING_FIELD", "the channel needs a symbol", field="symbol")
        symbol = self._services.markets.named(command.symbol).symbol
        shown: dict[str, Any] = {"channel": channel, "symbol": symbol}
        detail: str | int = 0
        if channel == "candles":
            if command.interval not in INTERVALS:
                message = f"interval must be one of {', '.join(INTERVALS)}"
                raise InvalidRequest("INVALID_INTERVAL", message, field="interval", provided=command.interval)
            detail = shown["interval"] = command.interval
        elif channel == "depth" and command.levels:
            if command.levels not in LEVELS:
                message = f"levels must be one of {', '.join(map(str, LEVELS))}, or 0 for all"
                raise InvalidRequest("INVALID_LEVELS", message, field="levels", provided=str(command.levels))
            detail = shown["levels"] = command.levels
        if command.pause_ms:
            if channel not in PACED or command.pause_ms not in PAUSES_MS:
                message = f"pause_ms is for {', '.join(PACED)}, and {' or '.join(map(str, PAUSES_MS))}"
                raise InvalidRequest("INVALID_PAUSE", message, field="pause_ms", provided=str(command.pause_ms))
            shown["pause_ms"] = command.pause_ms
            detail = paced(detail, command.pause_ms)
        return (channel, symbol, detail), shown

    async def _private_subscription(self, command: Subscribe) -> tuple[dict[str, Any], Callable[[], None]]:
        """What to answer, and what to do after the answer."""
        channel = command.channel
        principal = self._trader("read")
        await self._callers.require_live(principal)
        self._room_for_one(channel in self._private)
        await self._callers.require_room(QUERIES, self._connection.address, principal.user_id)
        self._private.add(channel)
        self._server.accounts.subscribe(principal.user_id, channel, self._connection)
        try:
            rows = await self._read_private(channel, principal.user_id)
        except EngineError:
            self._stop_private(channel)
            raise
        return {"channel": channel}, lambda: self._begin_private(channel, rows)

    async def show_private_again(self, channel: str) -> None:
        """Begin a private channel again, which the accounts have set back.

        Raises:
            EngineError: a dependency is away.
        """
        if self.principal is not None and channel in self._private:
            self._begin_private(channel, await self._read_private(channel, self.principal.user_id))

    async def _read_private(self, channel: str, user_id: str) -> Any:
        if channel == FILLS:
            return []
        async with self._callers.readings.in_turn(user_id):
            if channel == BALANCES:
                return await self._server.accounts.balances(user_id)
            return await self._server.open_orders(user_id)

    def _begin_private(self, channel: str, rows: Any) -> None:
        if self.principal is not None:
            self._server.accounts.snapshot(self.principal.user_id, channel, self._connection, rows)

    def _stop_private(self, channel: str) -> None:
        self._private.discard(channel)
        if self.principal is not None:
            self._server.accounts.unsubscribe(self.principal.user_id, channel, self._connection)

    # ---- the end

    def end(self) -> None:
        """The connection is gone."""
        self._server.hub.leave(self._topics, self._connection)
        for channel in tuple(self._private):
            self._stop_private(channel)
        if self._cancel_on_disconnect and self.principal is not None:
            self._server.run(self._cancel_placed(self.principal.user_id))

    async def _cancel_placed(self, user_id: str) -> None:
        """End the orders of this connection, also those that are on their way, for as long as the engine is away."""
        if self._running:
            await asyncio.wait(self._running)
        trading = self._services.desk
        for pause_s in (0.1, 0.5, 1.0, 5.0, 10.0, 30.0):
            left = [order_id for order_id in self._placed if trading.is_live(order_id)]
            answers = [self._cancel_one(order_id, user_id) for order_id in left]
            if all(await asyncio.gather(*answers)):
                return
            await asyncio.sleep(pause_s)
        log.error("orders_outlive_connection", one_of_a_kind=True, user_id=user_id)

    async def _cancel_one(self, order_id: str, user_id: str) -> bool:
        with contextlib.suppress(EngineError):
            await self._services.desk.cancel(order_id, user_id)
        try:
            return not self._services.desk.is_live(order_id)
        except EngineError:
            return False
