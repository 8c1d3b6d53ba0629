"""What all WebSocket connections share: who may connect and log in, the hub, and the sequencer's word of commits."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, Final, Protocol
from urllib.parse import SplitResult, parse_qs

import structlog
from websockets.datastructures import Headers

from trade_engine.domain.enums import OrderStatus
from trade_engine.domain.errors import EngineError, NotFound, Unavailable
from trade_engine.edge.auth.tokens import Principal
from trade_engine.edge.problems import TooMany, Unauthorized, status_of
from trade_engine.edge.services import Services
from trade_engine.edge.settings import PUBLIC, StreamSettings
from trade_engine.edge.views import OrderView, show_order
from trade_engine.edge.ws.accounts import Accounts
from trade_engine.edge.ws.connection import EXPIRED, TOO_MANY, ClientSession, StreamConnection
from trade_engine.edge.ws.hub import Hub, Reader
from trade_engine.edge.ws.logins import login_of
from trade_engine.edge.ws.messages import handshake_refusal
from trade_engine.edge.ws.session import STOPPING, Session
from trade_engine.http.connections import Slot
from trade_engine.sequencer.publish import CommittedBatch
from trade_engine.wallet.outage import TRANSPORT_ERRORS

log = structlog.get_logger(__name__)

#: Where our own API is.
PATH: Final = "/ws"
_OPEN = [status for status in OrderStatus if status.is_open]
_OPEN_ORDERS_MAX = 1_000
_RECENT = 50
#: How often connections that logged in by API key are looked at; their orders are checked each time.
_KEYS_EVERY_S = 5.0
_RESYNC_PAUSE_S = 0.5
_MISSED_MAX = 1_000


class Face(Protocol):
    """Another API over WebSocket, at paths of its own; at our path it has those who bring no token."""

    def takes(self, path: str) -> bool:
        """Whether it has something at this path."""

    async def enter(
        self, server: "StreamServer", connection: StreamConnection, target: SplitResult, ours: Callable[[], Session]
    ) -> ClientSession:
        """Let a client in; ``ours`` makes a session of our own API.  EngineError if it may not come in."""

    def show_refusal(self, error: EngineError) -> tuple[int, bytes]:
        """Status and body of a handshake that is refused."""

    def committed(self, batch: CommittedBatch) -> None:
        """A batch is committed."""

    def moved(self, users: Iterable[str]) -> None:
        """Settlement has moved money of these users."""

    def rebuilt(self) -> None:
        """Something may have been committed that was not told."""


class StreamServer:
    """The WebSocket side of the API; ``committed`` and ``rebuilt`` are the engine's word.

    Args:
        services: what every face uses.
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
        self.hub = Hub(services.reader, settings)
        self.accounts = Accounts(services.markets.numbered, services.balances.of, settings)
        self._connections: dict[StreamConnection, str | None] = {}
        self._by_address: Counter[str] = Counter()
        self._by_user: Counter[str] = Counter()
        self._faces: list[Face] = []
        self._farewells: set[asyncio.Task[None]] = set()
        self._closing = False
        #: Set: the engine stops, and takes no more commands.
        self.stopping = False

    def protocol(self, server_state: Any, slot: Slot) -> StreamConnection:
        """A connection that the HTTP server hands over, with its place."""
        return StreamConnection(self, server_state, slot)

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._connections)

    def add_face(self, face: Face) -> None:
        """Serve another API as well."""
        self._faces.append(face)

    # ---- start and stop

    async def start(self) -> None:
        """Read the latest trades of every market; ``look_after`` and ``accounts.run`` have to run from then on.

        Raises:
            EngineError, OSError: the database is away.
        """
        await self._read_trades(_RECENT)

    @property
    def under_way(self) -> int:
        """How many commands of all connections are being carried out."""
        return sum(each.session.under_way for each in self._connections if each.session is not None)

    async def stop(self) -> None:
        """Close every connection and cancel what was to be cancelled with it."""
        self._closing = True
        for connection in list(self._connections):
            connection.shutdown()
        if self._farewells:
            await asyncio.wait(self._farewells, timeout=5)
        self.hub.close()

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something that outlives its connection."""
        task = asyncio.create_task(work)
        self._farewells.add(task)
        task.add_done_callback(self._farewells.discard)

    async def look_after(self) -> None:
        """Ping, and close who is silent, too slow or logged in with a key that is revoked; until cancelled."""
        loop = asyncio.get_running_loop()
        keys_due = 0.0
        while True:
            await asyncio.sleep(min(1.0, self.settings.ping_s / 2))
            now = loop.time()
            try:
                for connection in list(self._connections):
                    connection.look_after(now)
                self.hub.look_after(int(self.now_s() * 1_000_000))
                if now >= keys_due:
                    keys_due = now + _KEYS_EVERY_S
                    await self._close_revoked()
            except Exception:
                log.exception("connections_not_looked_after")

    async def _close_revoked(self) -> None:
        """Close the connections whose API key is no longer good."""
        for connection in list(self._connections):
            try:
                for principal in () if connection.session is None else connection.session.principals:
                    await self.services.callers.require_live(principal)
            except Unauthorized:
                connection.close(EXPIRED, "the API key is revoked")
            except Unavailable:
                return

    # ---- the engine's word

    def committed(self, batch: CommittedBatch) -> None:
        """A batch is committed."""
        self.hub.committed([touched.market.symbol for touched in batch.markets], batch.trades)
        self.accounts.committed(batch.orders, batch.trades)
        for face in self._faces:
            face.committed(batch)

    def moved(self, users: Iterable[str]) -> None:
        """Settlement has moved money of these users."""
        self.accounts.moved(users)
        for face in self._faces:
            face.moved(users)

    def rebuilt(self) -> None:
        """The engine built its memory anew; something may have been committed that it did not tell."""
        for face in self._faces:
            face.rebuilt()
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
                    if isinstance(reader, StreamConnection) and isinstance(reader.session, Session):
                        await reader.session.show_private_again(channel)
                    again.pop()
            except (EngineError, *TRANSPORT_ERRORS) as error:
                log.warning("missed_updates_not_told", error=repr(error))
                await asyncio.sleep(_RESYNC_PAUSE_S)
            else:
                return

    async def _read_trades(self, count: int) -> None:
        """Take in the newest trades of each market that are not known yet."""
        for market in list(self.services.reader.markets.values()):
            page = await self.services.queries.trades(market_id=market.market_id, limit=count)
            self.hub.committed((market.symbol,), reversed(page.rows))

    async def open_orders(self, user_id: str) -> list[OrderView]:
        """A user's newest open orders."""
        page = await self.services.desk.page(user_id, statuses=_OPEN, limit=_OPEN_ORDERS_MAX)
        return [show_order(order, self.services.markets.numbered(order.market_id)) for order in page.rows]

    # ---- who may connect

    async def enter(self, connection: StreamConnection, target: SplitResult, headers: Headers) -> ClientSession:
        """Let a client in that asks for this path.

        Raises:
            EngineError: it may not come in.
        """
        path, callers, address = target.path, self.services.callers, connection.address
        tokens = parse_qs(target.query).get("token", [])
        face = self._face(path)
        if path != PATH and face is None:
            raise NotFound("ROUTE_NOT_FOUND", "the WebSocket is at /ws")
        # A handshake counts as a request.
        await callers.require_room(PUBLIC, address)
        principal = login_of(callers, headers, tokens) if path == PATH else None
        self._require_place(connection, principal)
        if face is not None and principal is None:
            ours = lambda: self._session(connection, None)  # noqa: E731
            session = await face.enter(self, connection, target, ours)
        else:
            session = self._session(connection, principal)
        try:
            # Another may have come in meanwhile, and this one may have gone.
            self._require_place(connection, principal)
            if connection.is_closing:
                raise Unavailable("ENGINE_UNAVAILABLE", "the connection is gone")
        except EngineError:
            session.end()
            raise
        self._count_in(connection, principal)
        return session

    def show_refusal(self, path: str, error: EngineError) -> tuple[int, bytes]:
        """Status and body of a handshake that is refused."""
        face = None if path == PATH else self._face(path)
        if face is not None:
            return face.show_refusal(error)
        return status_of(error), handshake_refusal(error.code, error.message)

    def _face(self, path: str) -> "Face | None":
        return next((face for face in self._faces if face.takes(path)), None)

    def _session(self, connection: StreamConnection, principal: Principal | None) -> Session:
        return Session(self, connection, principal, lambda user_id: self.count_user(connection, user_id))

    def _require_place(self, connection: StreamConnection, principal: Principal | None) -> None:
        """Refuse one connection too many.

        Raises:
            TooMany: of the server, the address or the user; Unavailable: the engine stops.
        """
        limits = self.settings
        if self.stopping or self._closing:
            raise Unavailable("ENGINE_UNAVAILABLE", STOPPING)
        if len(self._connections) >= limits.max_connections:
            raise TooMany("TOO_MANY_CONNECTIONS", "the server has too many connections", limit=limits.max_connections)
        if self._by_address[connection.address] >= limits.connections_per_address:
            raise TooMany(
                "TOO_MANY_CONNECTIONS", "the address has too many connections", limit=limits.connections_per_address
            )
        if principal is not None:
            self._require_room(principal.user_id)

    def _count_in(self, connection: StreamConnection, principal: Principal | None) -> None:
        if principal is not None:
            self._by_user[principal.user_id] += 1
        self._by_address[connection.address] += 1
        self._connections[connection] = principal.user_id if principal else None

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
