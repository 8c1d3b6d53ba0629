"""Who comes in at which path: ``/ws`` and ``/stream`` for streams, ``/ws-api/v3`` for requests.

At bare ``/ws``, where our own API is, too, the first message decides: ``method`` is this face's, ``op`` is ours.
"""

import functools
from collections.abc import Callable, Iterable
from typing import Final
from urllib.parse import SplitResult, parse_qs

import msgspec

from trade_engine.domain.errors import EngineError
from trade_engine.edge.binance.order_lists import lists_of_numbers
from trade_engine.edge.binance.refusals import Numbered, show
from trade_engine.edge.binance.ws.api_session import ApiSession
from trade_engine.edge.binance.ws.market_session import MarketSession, require_known
from trade_engine.edge.binance.ws.streams import MarketStreams
from trade_engine.edge.binance.ws.users import UserStreams
from trade_engine.edge.ws.connection import ClientSession, StreamConnection
from trade_engine.edge.ws.messages import encode
from trade_engine.edge.ws.server import PATH, StreamServer
from trade_engine.edge.ws.session import Session
from trade_engine.sequencer.publish import CommittedBatch

_ONE: Final = f"{PATH}/"
_SEVERAL: Final = "/stream"
_REQUESTS: Final = "/ws-api/v3"


class _Opening(msgspec.Struct):
    """What tells whose a message is."""

    method: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    op: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_decode_head = msgspec.json.Decoder(_Opening).decode


class Undecided:
    """A client who came without a token to the path that both APIs have; its first message decides which it meant."""

    def __init__(self, connection: StreamConnection, ours: Session, theirs: MarketSession) -> None:
        self._connection = connection
        self._ours = ours
        self._theirs = theirs

    @property
    def principals(self) -> tuple[()]:
        """Nobody yet."""
        return ()

    @property
    def under_way(self) -> int:
        """Nothing."""
        return 0

    def opened(self) -> None:
        """Nothing: the client speaks first."""

    def expired(self) -> bool:
        """Never."""
        return False

    def receive(self, message: bytes) -> None:
        """Decide, and carry the message out."""
        try:
            head = _decode_head(message)
            is_theirs = head.method is not msgspec.UNSET and head.op is msgspec.UNSET
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            is_theirs = False
        session: ClientSession = self._theirs if is_theirs else self._ours
        self._connection.session = session
        session.receive(message)

    def end(self) -> None:
        """It said nothing."""
        self._ours.end()
        self._theirs.end()


class BinanceFace:
    """Keeps ``ws.server.Face``."""

    def __init__(self, server: StreamServer) -> None:
        services = server.services
        MarketStreams(server.hub, services.reader, server.settings)
        #: To be kept running.
        self.users = UserStreams(
            services.markets.numbered,
            services.balances.of,
            functools.partial(lists_of_numbers, services),
            server.settings,
        )

    def takes(self, path: str) -> bool:
        """Whether it has something at this path."""
        return path in (PATH, _SEVERAL, _REQUESTS) or path.startswith(_ONE)

    async def enter(
        self, server: StreamServer, connection: StreamConnection, target: SplitResult, ours: Callable[[], Session]
    ) -> ClientSession:
        """Let a client in; see ``Face``.

        Raises:
            Numbered: it asks for what there is not.
        """
        path, query = target.path, parse_qs(target.query)
        _refuse_microseconds(query)
        if path == _REQUESTS:
            shows_limits = query.get("returnRateLimits", ["true"])[0] != "false"
            return ApiSession(server, connection, self.users, shows_limits=shows_limits)
        if path == PATH:
            return Undecided(connection, ours(), MarketSession(server, connection, self.users))
        names = path.removeprefix(_ONE) if path != _SEVERAL else "".join(query.get("streams", [])[:1])
        asked = list(dict.fromkeys(filter(None, names.split("/"))))
        if len(asked) > server.settings.max_streams:
            raise Numbered(-1101, "Too many streams.")
        require_known(asked, server.services)
        return MarketSession(server, connection, self.users, asked, combined=path == _SEVERAL)

    def show_refusal(self, error: EngineError) -> tuple[int, bytes]:
        """Status and body of a handshake that is refused."""
        shown = show(error)
        return shown.status, encode({"code": shown.number, "msg": shown.text})

    def committed(self, batch: CommittedBatch) -> None:
        """A batch is committed."""
        self.users.committed(batch)

    def moved(self, users: Iterable[str]) -> None:
        """Settlement has moved money of these users."""
        self.users.moved(users)

    def rebuilt(self) -> None:
        """Something may have been committed that was not told."""
        self.users.rebuilt()


def _refuse_microseconds(query: dict[str, list[str]]) -> None:
    if query.get("timeUnit", ["MILLISECOND"])[0].upper() != "MILLISECOND":
        raise Numbered(-1130, "Data sent for parameter 'timeUnit' is not valid: times are in milliseconds.")
