"""HTTP connections with an end: uvicorn's protocol, plus limits on time, size and number.

uvicorn waits for ever for the headers of a request.  Here a connection that is slow (on purpose or not) is told 408 and
closed, headers have a size, and one connection too many is told 503.  Nobody's slowness costs anybody else anything.
"""

import asyncio
from typing import Any, Final, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from trade_engine.api.settings import ServerSettings

_CLOSE: Final = "HTTP/1.1 {}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_TOO_SLOW: Final = _CLOSE.format("408 Request Timeout").encode()
_TOO_LARGE: Final = _CLOSE.format("431 Request Header Fields Too Large").encode()
_TOO_MANY: Final = _CLOSE.format("503 Service Unavailable\r\nretry-after: 1").encode()


class OneWrite:
    """A transport that writes what the loop's turn brought at once: uvicorn gives head and body one by one."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self.inner = transport
        self._loop = loop
        self._parts: list[bytes] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def write(self, data: bytes) -> None:
        """Write, when this turn of the loop is over."""
        if not self._parts:
            self._loop.call_soon(self.flush)
        self._parts.append(data)

    def flush(self) -> None:
        """Write now."""
        if self._parts:
            data, self._parts = b"".join(self._parts), []
            self.inner.write(data)

    def close(self) -> None:
        """Write what waits, and close."""
        self.flush()
        self.inner.close()


class BoundedHttp(HttpToolsProtocol):
    """One HTTP connection."""

    def __init__(self, settings: ServerSettings, **uvicorns: Any) -> None:
        super().__init__(**uvicorns)
        self._settings = settings
        self._timer: asyncio.TimerHandle | None = None
        #: When the client must have sent what is waited for, by the loop's clock.
        self._due_s: float | None = None
        #: Bytes of headers so far; -1 while a request's headers are complete and its body is not.
        self._head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin, if there is room."""
        super().connection_made(cast("asyncio.Transport", OneWrite(transport, self.loop)))
        if len(self.connections) > self._settings.max_connections:
            self._end(_TOO_MANY)
            return
        self._wait(self._settings.header_timeout_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over."""
        self._stop_waiting()
        self._set_timer(None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes in."""
        if self.transport.is_closing():
            return
        in_head = self._head_bytes >= 0
        if in_head and self._due_s is None:
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
        self._set_timer(None)
        gathered = cast("OneWrite", self.transport)
        gathered.flush()
        self.transport = gathered.inner
        super().handle_websocket_upgrade()

    def _wait(self, seconds: float) -> None:
        self._due_s = self.loop.time() + seconds
        if self._timer is None or self._timer.when() > self._due_s:
            self._set_timer(self._due_s)

    def _stop_waiting(self) -> None:
        # The timer stays for the next request: to set one is dearer than to find, seconds later, that nothing is due.
        self._due_s = None

    def _set_timer(self, at_s: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if at_s is None else self.loop.call_at(at_s, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._due_s is None:
            return
        if self._due_s > self.loop.time():
            self._set_timer(self._due_s)
        else:
            self._end(_TOO_SLOW)

    def _end(self, answer: bytes) -> None:
        self._stop_waiting()
        if not self.transport.is_closing():
            answering = bool(self.cycle) and self.cycle.response_started and not self.cycle.response_complete
            if not answering:
                self.transport.write(answer)
            self.transport.close()
