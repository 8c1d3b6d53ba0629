"""One client's session: its login, its subscriptions, its commands and their answers.

Every command gets exactly one answer.  Those that wait for the engine run side by side, so many at a time; an order
is acknowledged after its commit, as over REST.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import structlog
from starlette.requests import Request

from trade_engine.api.auth.authenticator import require_scope
from trade_engine.api.auth.tokens import TRADER, Principal
from trade_engine.api.call import Call
from trade_engine.api.limits import Demand, LocalLimits
from trade_engine.api.problems import Forbidden, RateLimited, TooMany, Unauthorized
from trade_engine.api.rest import orders
from trade_engine.api.settings import ORDERS, LimitSettings, RateLimit
from trade_engine.api.times import show_time
from trade_engine.api.ws.accounts import BALANCES, FILLS, PRIVATE
from trade_engine.api.ws.commands import (
    Amend,
    Auth,
    Cancel,
    CancelAll,
    CancelOnDisconnect,
    Command,
    Ping,
    Place,
    Subscribe,
    UnreadableCommand,
    Unsubscribe,
    read_command,
)
from trade_engine.api.ws.hub import Topic
from trade_engine.api.ws.messages import failure_frame, response_frame
from trade_engine.domain.errors import EngineError, InvalidRequest
from trade_engine.marketdata.candles import INTERVALS

if TYPE_CHECKING:
    from trade_engine.api.ws.connection import StreamConnection
    from trade_engine.api.ws.server import StreamServer

log = structlog.get_logger(__name__)

MARKET_CHANNELS: Final = ("trades", "ticker", "candles", "depth", "book")
#: Levels a ``depth`` subscription may be limited to.
LEVELS: Final = (5, 10, 20, 50)
_UNREADABLE_MAX: Final = 10
_YEAR_10000_S: Final = 253_402_300_800
#: Beyond so many orders of a connection, those that ended are forgotten.
_PLACED_MAX: Final = 1_000


class Session:
    """What one connection may do and has asked for."""

    def __init__(self, server: "StreamServer", connection: "StreamConnection", principal: Principal | None) -> None:
        self._server = server
        self._services = server.services
        self._connection = connection
        self.principal = principal
        self._topics: set[Topic] = set()
        self._private: set[str] = set()
        rate = RateLimit(server.settings.commands_per_s, server.settings.commands_burst)
        self._limits = LocalLimits(LimitSettings(orders=rate, max_callers=1))
        self._running: set[asyncio.Task[None]] = set()
        self._unreadable = 0
        self._placed: set[str] = set()
        self._cancel_on_disconnect = False

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
                self._connection.close(4400, "messages are JSON objects")
            return
        self._unreadable = 0
        op = str(command.__struct_config__.tag)
        for verdict in self._limits.take_now([Demand(ORDERS, "")]):
            if not verdict.allowed:
                self._connection.send(failure_frame(op, command.id, RateLimited(verdict.retry_after_s)))
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
    def _reads(command: Command) -> bool:
        """Whether the command waits for a database or the wallet."""
        return type(command) is Subscribe and command.channel in PRIVATE

    def _answer_at_once(self, op: str, command: Command) -> None:
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

    async def _carry_out(self, op: str, command: Command) -> None:
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
            log.exception("a command failed", op=op)
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
        if TRADER not in principal.roles:
            raise Forbidden("FORBIDDEN", f"the login lacks the role {TRADER}", field="roles")
        require_scope(principal, scope)
        return principal

    async def _login(self, command: Auth) -> dict[str, Any]:
        address = self._connection.address
        try:
            principal = await self._server.login(command, self._connection.client)
        except Unauthorized:
            await self._server.take_public_request(address)
            raise
        if self.principal is None:
            self._server.count_user(self._connection, principal.user_id)
        elif principal.user_id != self.principal.user_id:
            raise Forbidden("FORBIDDEN", "the connection belongs to another user", field="token")
        self.principal = principal
        ends = show_time(int(principal.expires_s * 1e6)) if principal.expires_s < _YEAR_10000_S else None
        return {"user_id": principal.user_id, "expires_at": ends}

    # ---- orders

    async def _order_command(self, command: Command) -> Any:
        """Carry an order command out, by the handler of the REST route that does the same."""
        principal = self._trader("trade")
        await self._server.require_live(principal)
        await self._server.take_order_request(principal.user_id, self._connection.address)
        if isinstance(command, Place):
            answer = await orders.place(self._call(principal, bytes(command.order)))
            self._remember(answer.data.order.id)
        elif isinstance(command, Cancel):
            answer = await orders.cancel(self._call(principal, order_id=command.order_id))
        elif isinstance(command, Amend):
            answer = await orders.amend(self._call(principal, bytes(command.change), order_id=command.order_id))
        else:
            symbol = command.symbol if isinstance(command, CancelAll) else None
            query = {"symbol": symbol} if symbol is not None else {}
            answer = await orders.cancel_all(self._call(principal, query=query))
        return answer.data

    def _call(self, principal: Principal, body: bytes = b"", query: dict[str, str] | None = None, **path: str) -> Call:
        scope = {"type": "http", "headers": [], "path_params": path, "query_string": b""}
        return Call(self._services, Request(scope), principal, body, query or {})

    def _remember(self, order_id: str) -> None:
        self._placed.add(order_id)
        if len(self._placed) > _PLACED_MAX:
            self._placed = {known for known in self._placed if self._services.engine.is_live(known)}

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
        self._services.engine.view(topic[1])
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
        if command.symbol is None:
            raise InvalidRequest("MISSING_FIELD", "the channel needs a symbol", field="symbol")
        symbol = self._services.market(command.symbol).symbol
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
        return (channel, symbol, detail), shown

    async def _private_subscription(self, command: Subscribe) -> tuple[dict[str, Any], Callable[[], None]]:
        """What to answer, and what to do after the answer."""
        channel = command.channel
        principal = self._trader("read")
        await self._server.require_live(principal)
        self._room_for_one(channel in self._private)
        await self._server.take_query(principal.user_id, self._connection.address)
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
        if channel == BALANCES:
            return await self._server.accounts.balances(user_id)
        return [] if channel == FILLS else await self._server.open_orders(user_id)

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
        engine = self._services.engine
        for pause_s in (0.1, 0.5, 1.0, 5.0, 10.0, 30.0):
            left = [order_id for order_id in self._placed if engine.is_live(order_id)]
            answers = [self._cancel_one(order_id, user_id) for order_id in left]
            if all(await asyncio.gather(*answers)):
                return
            await asyncio.sleep(pause_s)
        log.error("orders outlive their connection", user_id=user_id)

    async def _cancel_one(self, order_id: str, user_id: str) -> bool:
        with contextlib.suppress(EngineError):
            await self._services.engine.cancel(order_id, user_id)
        try:
            return not self._services.engine.is_live(order_id)
        except EngineError:
            return False
