"""What all WebSocket connections share: who may connect and log in, the hub, and the sequencer's word of commits."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

import structlog
from websockets.datastructures import Headers

from trade_engine.api.auth.tokens import Principal
from trade_engine.api.call import Services
from trade_engine.api.limits import Demand
from trade_engine.api.problems import RateLimited, TooMany, Unauthorized
from trade_engine.api.rest.account import read_balances
from trade_engine.api.schemas import OrderView, show_order
from trade_engine.api.settings import ADDRESS, ORDERS, PUBLIC, QUERIES, StreamSettings
from trade_engine.api.ws.accounts import Accounts
from trade_engine.api.ws.commands import Auth
from trade_engine.api.ws.connection import EXPIRED, TOO_MANY, StreamConnection
from trade_engine.api.ws.hub import Hub, Reader
from trade_engine.api.ws.messages import encode
from trade_engine.api.ws.session import Session
from trade_engine.domain.enums import OrderStatus
from trade_engine.domain.errors import EngineError, InvalidRequest, Unavailable
from trade_engine.domain.orders import Order, Trade
from trade_engine.wallet.outage import TRANSPORT_ERRORS

log = structlog.get_logger(__name__)

_OPEN = [status.name for status in OrderStatus if status.is_open]
_OPEN_ORDERS_MAX = 1_000
_RECENT = 50
#: How often connections that logged in by API key are looked at; their orders are checked each time.
_KEYS_EVERY_S = 5.0
_RESYNC_PAUSE_S = 0.5
_MISSED_MAX = 1_000


class StreamServer:
    """The WebSocket side of the API; ``committed`` and ``rebuilt`` are the engine's word.

    Args:
        services: what REST's handlers use, too.
        address_of: the client's address, given the peer's and the handshake's headers.
    """

    def __init__(
        self,
        services: Services,
        settings: StreamSettings,
        address_of: Callable[[Any, Headers], str],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.services = services
        self.settings = settings
        self.address_of = address_of
        self.now_s = clock
        self.hub = Hub(services.engine, settings)
        self.accounts = Accounts(services.market_of, lambda user_id: read_balances(services, user_id), settings)
        self._connections: dict[StreamConnection, str | None] = {}
        self._by_address: Counter[str] = Counter()
        self._by_user: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._farewells: set[asyncio.Task[None]] = set()
        self._closing = False

    def protocol(self, config: Any = None, server_state: Any = None, app_state: Any = None) -> StreamConnection:
        """A connection, as uvicorn asks for one."""
        del config, app_state
        return StreamConnection(self, server_state)

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._connections)

    # ---- start and stop

    async def start(self) -> None:
        """Read the latest trades of every market and begin to look after connections.

        Raises:
            EngineError, OSError: the database is away.
        """
        await self._read_trades(_RECENT)
        for name, work in (("streams", self._look_after()), ("balances", self.accounts.run())):
            task = asyncio.create_task(work, name=name)
            self._tasks.add(task)

    async def stop(self) -> None:
        """Close every connection and cancel what was to be cancelled with it."""
        self._closing = True
        for connection in list(self._connections):
            connection.shutdown()
        if self._farewells:
            await asyncio.wait(self._farewells, timeout=5)
        self.hub.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something that outlives its connection."""
        task = asyncio.create_task(work)
        self._farewells.add(task)
        task.add_done_callback(self._farewells.discard)

    async def _look_after(self) -> None:
        loop = asyncio.get_running_loop()
        keys_due = 0.0
        while True:
            await asyncio.sleep(min(1.0, self.settings.ping_s / 2))
            now = loop.time()
            try:
                for connection in list(self._connections):
                    connection.look_after(now)
                if now >= keys_due:
                    keys_due = now + _KEYS_EVERY_S
                    await self._close_revoked()
            except Exception:
                log.exception("connections could not be looked after")

    async def _close_revoked(self) -> None:
        """Close the connections whose API key is no longer good."""
        for connection in list(self._connections):
            session = connection.session
            if session is None or session.principal is None or session.principal.key_id is None:
                continue
            try:
                await self.require_live(session.principal)
            except Unauthorized:
                connection.close(EXPIRED, "the API key is revoked")
            except Unavailable:
                return

    # ---- the engine's word

    def committed(self, markets: Iterable[int], orders: Iterable[Order], trades: Iterable[Trade]) -> None:
        """A batch is committed.  Never raises: what fails here must not reach the writer."""
        try:
            engine = self.services.engine
            self.hub.committed([engine.market(number).symbol for number in markets], trades)
            self.accounts.committed(orders, trades)
        except Exception:
            log.exception("a commit could not be told")

    def moved(self, users: Iterable[str]) -> None:
        """Settlement has moved money of these users."""
        self.accounts.moved(users)

    def rebuilt(self) -> None:
        """The engine built its memory anew; something may have been committed that it did not tell."""
        if not self._closing:
            self.run(self._resync())

    async def _resync(self) -> None:
        """Tell what was missed, as soon as the database can be read."""
        again: list[tuple[Reader, str]] | None = None
        while not self._closing:
            try:
                await self._read_trades(_MISSED_MAX)
                again = self.accounts.restart() if again is None else again
                while again:
                    reader, channel = again[-1]
                    if isinstance(reader, StreamConnection) and reader.session is not None:
                        await reader.session.show_private_again(channel)
                    again.pop()
            except (EngineError, *TRANSPORT_ERRORS) as error:
                log.warning("what was missed cannot be told yet", error=repr(error))
                await asyncio.sleep(_RESYNC_PAUSE_S)
            else:
                return

    async def _read_trades(self, count: int) -> None:
        """Take in the newest trades of each market that are not known yet."""
        for market in list(self.services.engine.markets.values()):
            trades = await self.services.queries.trades(market_id=market.market_id, limit=count)
            self.hub.committed((market.symbol,), reversed(trades))

    async def open_orders(self, user_id: str) -> list[OrderView]:
        """A user's newest open orders."""
        orders = await self.services.queries.orders(user_id, statuses=_OPEN, limit=_OPEN_ORDERS_MAX)
        return [show_order(order, self.services.market_of(order.market_id)) for order in orders]

    # ---- who may connect

    def admit(self, connection: StreamConnection, principal: Principal | None) -> Session:
        """Count a connection in.

        Raises:
            TooMany: of the server, the address or the user.
        """
        limits = self.settings
        if self._closing or len(self._connections) >= limits.max_connections:
            raise TooMany("TOO_MANY_CONNECTIONS", "the server has too many connections", limit=limits.max_connections)
        if self._by_address[connection.address] >= limits.connections_per_address:
            raise TooMany(
                "TOO_MANY_CONNECTIONS", "the address has too many connections", limit=limits.connections_per_address
            )
        if principal is not None:
            self._require_room(principal.user_id)
            self._by_user[principal.user_id] += 1
        self._by_address[connection.address] += 1
        self._connections[connection] = principal.user_id if principal else None
        return Session(self, connection, principal)

    def count_user(self, connection: StreamConnection, user_id: str) -> None:
        """Count a connection that logs in later; one too many is closed.

        Raises:
            TooMany: of the user.
        """
        if connection not in self._connections:
            return
        try:
            self._require_room(user_id)
        except TooMany:
            connection.close(TOO_MANY, "too many connections of the user")
            raise
        self._by_user[user_id] += 1
        self._connections[connection] = user_id

    def _require_room(self, user_id: str) -> None:
        limit = self.settings.connections_per_user
        if self._by_user[user_id] >= limit:
            raise TooMany("TOO_MANY_CONNECTIONS", "the user has too many connections", limit=limit)

    def gone(self, connection: StreamConnection) -> None:
        """Count a connection out."""
        if connection not in self._connections:
            return
        user_id = self._connections.pop(connection)
        for counter, key in ((self._by_address, connection.address), (self._by_user, user_id)):
            if key is not None:
                counter[key] -= 1
                if counter[key] <= 0:
                    del counter[key]
        if connection.session is not None:
            connection.session.end()

    def refusal(self, code: str, message: str) -> bytes:
        """The body of a handshake that is refused."""
        return encode({"success": False, "error": {"code": code, "message": message, "details": {}}})

    # ---- who it is

    def login_of(self, headers: Headers, tokens: list[str]) -> Principal | None:
        """Who a handshake speaks for; None if it brings no token.

        Raises:
            Unauthorized: the token is not good.
        """
        given = headers.get_all("Authorization")
        if not given and not tokens:
            return None
        if len(given) + len(tokens) > 1:
            raise Unauthorized("UNAUTHORIZED", "give one token")
        authenticator = self.services.authenticator
        if given:
            return authenticator.tokens.verify(given[0].encode(errors="replace"))
        return authenticator.authenticate_token(tokens[0])

    async def login(self, command: Auth, client: str) -> Principal:
        """Who an ``auth`` command speaks for.

        Raises:
            Unauthorized, Forbidden: the token or the signature is not good; InvalidRequest: give one of them.
        """
        authenticator = self.services.authenticator
        if (command.token is None) == (command.api_key is None):
            raise InvalidRequest("MISSING_FIELD", "give token, or api_key with its signature", field="token")
        if command.token is not None:
            return authenticator.authenticate_token(command.token)
        return await authenticator.authenticate_signature(
            command.api_key or "",
            command.timestamp or "",
            command.nonce or "",
            command.signature or "",
            command.recv_window,
            "GET",
            "/ws",
            b"",
            client,
        )

    async def require_live(self, principal: Principal) -> None:
        """Refuse a login by an API key that was revoked meanwhile.

        Raises:
            Unauthorized: INVALID_API_KEY; Unavailable: nobody can tell.
        """
        ring = self.services.authenticator.keys
        if principal.key_id is None or ring is None:
            return
        found = await ring.find(principal.key_id)
        if found is None or found[0].revoked_us:
            raise Unauthorized("INVALID_API_KEY", "the API key is revoked", field="api_key")

    async def take_order_request(self, user_id: str, address: str) -> None:
        """Count an order request against the limits that REST counts, too.

        Raises:
            RateLimited: there were too many.
        """
        await self._take(Demand(ORDERS, user_id), Demand(ADDRESS, address))

    async def take_query(self, user_id: str, address: str) -> None:
        """As ``take_order_request``, for what reads the database."""
        await self._take(Demand(QUERIES, user_id), Demand(ADDRESS, address))

    async def take_public_request(self, address: str) -> None:
        """As ``take_order_request``, for handshakes and failed logins."""
        await self._take(Demand(PUBLIC, address))

    async def _take(self, *demands: Demand) -> None:
        for verdict in await self.services.limits.take(demands):
            if not verdict.allowed:
                raise RateLimited(verdict.retry_after_s)
