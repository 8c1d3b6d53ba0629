"""The HTTP server: uvicorn with uvloop and httptools, run inside the engine's own loop."""

import asyncio
import contextlib
import socket
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import uvicorn
from starlette.types import ASGIApp

from trade_engine.api.connections import BoundedHttp
from trade_engine.api.settings import ServerSettings


class ApiServer:
    """Serves an application on a socket of its own.

    Args:
        app: answers HTTP.
        settings: where and how.
        streams: makes the protocol of a connection that asks for WebSocket; None: there is none.
    """

    def __init__(
        self, app: ASGIApp, settings: ServerSettings, streams: Callable[..., asyncio.Protocol] | None = None
    ) -> None:
        self._settings = settings
        self._socket: socket.socket | None = None
        self._task: asyncio.Task[None] | None = None
        self._server = _Server(
            uvicorn.Config(
                app,
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
            )
        )

    @property
    def port(self) -> int:
        """The port it listens on (also when 0 was asked for)."""
        if self._socket is None:
            raise RuntimeError("the server is not started")
        return int(self._socket.getsockname()[1])

    async def start(self) -> None:
        """Listen; requests are answered when this returns.

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
        self._task = asyncio.create_task(self._server.serve(sockets=[bound]), name="api")
        while not self._server.started:
            if self._task.done():
                await self._task
                raise OSError(f"the server on {host}:{port} ended as it started")
            await asyncio.sleep(0.005)

    async def stop(self) -> None:
        """Take no more requests, let running ones end, close."""
        if self._task is not None:
            self._server.should_exit = True
            await self._task
        if self._socket is not None:
            self._socket.close()


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: the engine has its own."""

    @contextlib.contextmanager
    def capture_signals(self):  # type: ignore[no-untyped-def]
        """Leave signals alone."""
        yield
