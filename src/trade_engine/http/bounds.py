"""HTTP connections with an end and a budget: uvicorn's protocol, plus limits on time, size and haste.

uvicorn waits for ever for the headers of a request, and takes in all that comes at once: a read full of tiny requests
is parsed in one turn of the loop and queued without a bound.  Here a connection that is slow (on purpose or not) is
told 408 and closed, headers have a size and a number, and what was read is parsed in small slices: a few a turn, none
while requests wait to be answered, none while the address owes.  Nothing is read then, and the kernel slows the sender.
"""

import asyncio
from typing import Any, Final, cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from trade_engine.http.acceptor import CLOSE, REFUSALS
from trade_engine.http.connections import Slot
from trade_engine.http.settings import ServerSettings
from trade_engine.http.transport import OneWrite

_MALFORMED: Final = CLOSE.format("400 Bad Request").encode()
_TOO_SLOW: Final = CLOSE.format("408 Request Timeout").encode()
_TOO_LARGE: Final = CLOSE.format("431 Request Header Fields Too Large").encode()

_SLICE_BYTES: Final = 1024
#: Of one connection in one turn of the loop.
_SLICES_A_TURN: Final = 16
#: Requests that may wait for the one before them.
_WAITING_MAX: Final = 4
#: So many slices, or pieces of a body, cost as much as a request.
_SLICES_A_MESSAGE: Final = 16
_HEAD_END: Final = b"\r\n\r\n"


class BoundedHttp(HttpToolsProtocol):
    """One HTTP connection."""

    transport: OneWrite  # type: ignore[assignment]

    def __init__(self, settings: ServerSettings, slot: Slot, **uvicorns: Any) -> None:
        super().__init__(**uvicorns)
        self._settings = settings
        self._slot = slot
        self._timer: asyncio.TimerHandle | None = None
        #: When the client must have sent what is waited for, by the loop's clock.
        self._due_s: float | None = None
        #: Bytes of headers so far; -1 while a request's headers are complete and its body is not.
        self._head_bytes = 0
        #: What was read and is not parsed yet, from ``_at`` on.
        self._unread = b""
        self._at = 0
        #: Set while reading goes on later by itself.
        self._later: asyncio.Handle | None = None
        self._stalled: asyncio.TimerHandle | None = None
        self._handed_over = False

    # ---- what asyncio calls

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin."""
        super().connection_made(cast("asyncio.Transport", OneWrite(transport, self.loop, self._read_soon)))
        probing = self._slot.refusal is not None
        self._wait(self._settings.probe_timeout_s if probing else self._settings.header_timeout_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over."""
        self._slot.release()
        self._stop()
        if self._stalled is not None:
            self._stalled.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes in."""
        if self._handed_over or self.transport.is_closing():
            return
        self._unread = self._unread[self._at :] + data if self._unread else data
        self._at = 0
        if self._later is None:
            self._read_on()
        else:
            self._hold()

    def pause_writing(self) -> None:
        """The client takes no more; it is cut off if it does not go on."""
        super().pause_writing()
        if self._stalled is None:
            self._stalled = self.loop.call_later(self._settings.write_timeout_s, self.transport.abort)

    def resume_writing(self) -> None:
        """It goes on."""
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    # ---- reading, slice by slice

    def _read_soon(self) -> None:
        if self._later is None and not self._handed_over:
            self._later = self.loop.call_soon(self._read_on)

    def _read_on(self) -> None:
        """Parse what was read, as far as it may be parsed now."""
        self._later = None
        for _ in range(_SLICES_A_TURN):
            if self._handed_over or self.transport.is_closing():
                self._unread = b""
                return
            owed_s = self._slot.wait_s()
            if owed_s:
                self._hold()
                self._later = self.loop.call_later(owed_s, self._read_on)
                return
            if not self._unread:
                self._go_on()
                return
            if len(self.pipeline) >= _WAITING_MAX:
                # Read on by the end of an answer.
                self._hold()
                return
            if self.flow.read_paused:
                # Read on when the application takes the body, or has answered; until then the socket is not read, or
                # what waits here would grow with every answer.
                self._hold()
                return
            self._parse(self._next_slice())
        self._hold()
        self._read_soon()

    def _next_slice(self) -> memoryview:
        """A little of what was read: of a head no more than to its end, so that it is at most one request's."""
        end = min(self._at + _SLICE_BYTES, len(self._unread))
        if self._head_bytes >= 0:
            found = self._unread.find(_HEAD_END, self._at, end)
            end = found + len(_HEAD_END) if found >= 0 else end
        piece = memoryview(self._unread)[self._at : end]
        self._at = end
        if end == len(self._unread):
            self._unread, self._at = b"", 0
        return piece

    def _parse(self, piece: memoryview) -> None:
        self._unset_keepalive_if_required()
        self._slot.charge(1 / _SLICES_A_MESSAGE)
        in_head = self._head_bytes >= 0
        if in_head:
            if self._due_s is None:
                self._wait(self._settings.header_timeout_s)
            self._head_bytes += len(piece)
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade:
            self._upgrade()
        except httptools.HttpParserError:
            self._end(_MALFORMED)
        if in_head and self._head_bytes > self._settings.max_header_bytes:
            self._end(_TOO_LARGE)

    def _hold(self) -> None:
        """Read nothing from the socket; the time until it goes on is not the client's."""
        self.transport.hold()
        self._stop_waiting()

    def _go_on(self) -> None:
        if self.transport.release() and self._due_s is None and self._head_bytes:
            in_head = self._head_bytes > 0
            self._wait(self._settings.header_timeout_s if in_head else self._settings.body_timeout_s)

    # ---- what the parser calls

    def on_message_begin(self) -> None:
        """A request begins."""
        self._slot.charge(1)
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header of a request."""
        if len(self.headers) >= self._settings.max_headers:
            self._end(_TOO_LARGE)
        else:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The body follows, if there is one."""
        if self.transport.is_closing():
            return
        self._head_bytes = -1
        self._wait(self._settings.body_timeout_s)
        if self._slot.refusal is not None and not self._probes():
            self._slot.refused()
            self._end(REFUSALS[self._slot.refusal.status])
            return
        super().on_headers_complete()
        if self._slot.refusal is not None:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        if self.transport.is_closing():
            return
        self._slot.charge(1 / _SLICES_A_MESSAGE)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request is whole: the rest of the time is the application's."""
        if self.transport.is_closing():
            return
        self._head_bytes = 0
        self._stop_waiting()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """The request is answered: the next may be read."""
        super().on_response_complete()
        if self._unread or self.transport.held:
            self._read_soon()

    def _probes(self) -> bool:
        """Whether this request may use a place in reserve."""
        path = self.url.partition(b"?")[0].decode("latin-1")
        return self.parser.get_method() in (b"GET", b"HEAD") and path in self._settings.probe_paths

    # ---- WebSocket

    def _should_upgrade(self) -> bool:
        return self._slot.refusal is None and super()._should_upgrade()

    def _upgrade(self) -> None:
        if self.transport.is_closing():
            return
        if self._should_upgrade():
            self.handle_websocket_upgrade()
        else:
            # After this llhttp parses nothing; the answer is the last one.
            self._unread = b""
            self.cycle.keep_alive = False
            self.transport.hold()

    def handle_websocket_upgrade(self) -> None:
        """Hand the connection over, with its place and with what was read of it already."""
        self._stop()
        self._handed_over = True
        self.connections.discard(self)
        inner = self.transport.hand_over()
        head = [self.scope["method"].encode(), b" ", self.url, b" HTTP/1.1\r\n"]
        for name, value in self.scope["headers"]:
            head += [name, b": ", value, b"\r\n"]
        head.append(b"\r\n")
        rest, self._unread = self._unread[self._at :], b""
        protocol = self.ws_protocol_class(self.server_state, self._slot)  # type: ignore[misc,call-arg]
        inner.set_protocol(protocol)
        protocol.connection_made(inner)
        protocol.data_received(b"".join(head))
        if rest:
            protocol.data_received(rest)

    # ---- time

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
        if self.flow.read_paused:
            # Nothing is read now, because an earlier request is not answered yet: the client may have sent it.
            self._wait(self._settings.body_timeout_s)
        elif self._due_s > self.loop.time():
            self._set_timer(self._due_s)
        else:
            self._end(_TOO_SLOW)

    # ---- the end

    def _stop(self) -> None:
        self._stop_waiting()
        self._set_timer(None)
        if self._later is not None:
            self._later.cancel()
            self._later = None

    def _end(self, answer: bytes) -> None:
        self._stop_waiting()
        self._unread = b""
        if not self.transport.is_closing():
            answering = bool(self.cycle) and self.cycle.response_started and not self.cycle.response_complete
            if not answering:
                self.transport.write(answer)
            self.transport.close()
