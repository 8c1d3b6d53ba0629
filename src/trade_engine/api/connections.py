"""HTTP connections with an end: uvicorn's protocol, plus limits on time, size and number.

uvicorn waits for ever for the headers of a request.  Here a connection that is slow (on purpose or not) is told 408 and
closed, headers have a size, and one connection too many is told 503.  Nobody's slowness costs anybody else anything.
"""

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from trade_engine.api.settings import ServerSettings

_CLOSE: Final = "HTTP/1.1 {}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_TOO_SLOW: Final = _CLOSE.format("408 Request Timeout").encode()
_TOO_LARGE: Final = _CLOSE.format("431 Request Header Fields Too Large").encode()
_TOO_MANY: Final = _CLOSE.format("503 Service Unavailable\r\nretry-after: 1").encode()


class BoundedHttp(HttpToolsProtocol):
    """One HTTP connection."""

    def __init__(self, settings: ServerSettings, **uvicorns: Any) -> None:
        super().__init__(**uvicorns)
        self._settings = settings
        self._timer: asyncio.TimerHandle | None = None
        #: Bytes of headers so far; -1 while a request's headers are complete and its body is not.
        self._head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, if there is room."""
        super().connection_made(transport)
        if len(self.connections) > self._settings.max_connections:
            self._end(_TOO_MANY)
            return
        self._wait(self._settings.header_timeout_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes in."""
        if self.transport.is_closing():
            return
        in_head = self._head_bytes >= 0
        if in_head and self._timer is None:
            self._wait(self._settings.header_timeout_s)
        if in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if in_head and self._head_bytes > self._settings.max_header_bytes:
            self._end(_TOO_LARGE)

    def on_headers_complete(self) -> None:
        """The body follows, if there is one."""
        self._head_bytes = -1
        self._wait(self._settings.body_timeout_s)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The request is whole: the rest of the time is the application's."""
        self._head_bytes = 0
        self._stop_waiting()
        super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        """Hand the connection over."""
        self._stop_waiting()
        super().handle_websocket_upgrade()

    def _wait(self, seconds: float) -> None:
        self._stop_waiting()
        self._timer = self.loop.call_later(seconds, self._end, _TOO_SLOW)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end(self, answer: bytes) -> None:
        self._stop_waiting()
        if not self.transport.is_closing():
            answering = bool(self.cycle) and self.cycle.response_started and not self.cycle.response_complete
            if not answering:
                self.transport.write(answer)
            self.transport.close()
