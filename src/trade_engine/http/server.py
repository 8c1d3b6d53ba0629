"""The HTTP server: uvicorn with uvloop and httptools, run inside the engine's own loop."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import uvicorn
from starlette.types import ASGIApp

from trade_engine.http.acceptor import Acceptor
from trade_engine.http.bounds import BoundedHttp
from trade_engine.http.connections import Connections, ConnectionSettings, Slot
from trade_engine.http.settings import ServerSettings


class ApiServer:
    """Serves an application on a socket of its own.

    Args:
        app: answers HTTP.
        settings: where and how.
        connections: the places for connections, of this server or of several.
        streams: makes the protocol of a connection that asks for WebSocket, given the server's state and the place of
            the connection, which the protocol must release; None: there is none.
    """

    def __init__(
        self,
        app: ASGIApp,
        settings: ServerSettings,
        connections: Connections | None = None,
        streams: Callable[..., asyncio.Protocol] | None = None,
    ) -> None:
        self._settings = settings
        self.connections = connections or Connections(ConnectionSettings(trusted_proxies=settings.trusted_proxies))
        self._socket: socket.socket | None = None
        self._task: asyncio.Task[None] | None = None
        self._server = _Server(
            uvicorn.Config(
                app,
                interface="asgi3",
                loop="none",
                http=cast("Any", partial(BoundedHttp, settings)),
                ws=cast("Any", streams) or "none",
                lifespan="off",
                access_log=False,
                log_config=None,
                backlog=settings.backlog,
                timeout_keep_alive=settings.keep_alive_s,
                timeout_graceful_shutdown=settings.shutdown_timeout_s,
                proxy_headers=bool(settings.trusted_proxies),
                forwarded_allow_ips=list(settings.trusted_proxies),
                server_header=False,
                date_header=False,
            ),
            self.connections,
        )

    @property
    def port(self) -> int:
        """The port it listens on (also when 0 was asked for)."""
        if self._socket is None:
            raise RuntimeError("the server is not started")
        return int(self._socket.getsockname()[1])

    def bind(self) -> None:
        """Take the address, so that nobody else does; who connects is refused until ``start``.

        Raises:
            OSError: the address is taken or not this machine's; the message names it.
        """
        host, port = self._settings.host, self._settings.port
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        # With its protocol named, asyncio sends small answers at once (TCP_NODELAY); else they wait 40 ms for an ACK.
        bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind((host, port))
        except OSError as error:
            bound.close()
            raise OSError(f"{self._settings.name}: cannot listen on {host}:{port}: {error.strerror}") from error
        self._socket = bound

    async def start(self) -> None:
        """Listen; requests are answered when this returns.  A second call does nothing.

        Raises:
            OSError: as ``bind``, if that was not called.
        """
        if self._task is not None:
            return
        if self._socket is None:
            self.bind()
        host, port = self._settings.host, self._settings.port
        self._task = asyncio.create_task(self._server.serve(sockets=[cast("socket.socket", self._socket)]), name="api")
        while not self._server.started:
            if self._task.done():
                await self._task
                raise OSError(f"the server on {host}:{port} ended as it started")
            await asyncio.sleep(0.005)

    def serve_streams(self, streams: Callable[..., asyncio.Protocol]) -> None:
        """From now on connections may ask for WebSocket, too."""
        # The first is read when the server starts, the other by those who connect later.
        self._server.config.ws = self._server.config.ws_protocol_class = cast("Any", streams)

    @property
    def under_way(self) -> int:
        """How many requests are being answered."""
        return len(self._server.server_state.tasks)

    def cut_off(self) -> None:
        """Close every HTTP connection now, whatever is under way there."""
        for connection in list(self._server.server_state.connections):
            # A WebSocket's is cut off by its own clock.
            if isinstance(connection, BoundedHttp):
                connection.transport.abort()

    async def stop(self, within_s: float | None = None) -> None:
        """Take no more requests, let running ones end, close.

        Args:
            within_s: how long they may take, instead of the settings' time; then they are cut off.
        """
        if self._task is not None:
            if within_s is not None:
                self._server.config.timeout_graceful_shutdown = cast("Any", within_s)
            self._server.should_exit = True
            await self._task
        if self._socket is not None:
            self._socket.close()


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers, for the engine has its own, and with another way to take connections."""

    def __init__(self, config: uvicorn.Config, connections: Connections) -> None:
        super().__init__(config)
        self._connections = connections
        # It warns of every malformed request, so whoever sends them would write the log.
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen."""
        await self.lifespan.startup()
        self.servers = [cast("Any", self._acceptor(bound)) for bound in sockets or ()]
        self.started = True

    def _acceptor(self, bound: socket.socket) -> Acceptor:
        make = cast("Callable[..., asyncio.Protocol]", self.config.http_protocol_class)

        def protocol(slot: Slot) -> asyncio.Protocol:
            state = self.lifespan.state
            return make(slot=slot, config=self.config, server_state=self.server_state, app_state=state)

        return Acceptor(bound, self.config.backlog, self._connections, protocol)

    @contextlib.contextmanager
    def capture_signals(self):  # type: ignore[no-untyped-def]
        """Leave signals alone."""
        yield
