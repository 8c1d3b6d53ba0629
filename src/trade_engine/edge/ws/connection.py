"""One client's connection: handshake, frames to messages and back, its buffer, its heartbeat, its end.

An ``asyncio.Protocol`` over the sans-I/O protocol of ``websockets``, because the hub must know how full a connection's
buffer is and must never wait for it.  The HTTP server hands connections over after their upgrade.

What comes in has a budget, of which every frame takes its share, control frames and empty ones too: bytes are parsed in
small slices, a few a turn of the loop, and none while the connection or its address is too fast.
"""

import asyncio
import socket
from collections.abc import Callable, Collection, Coroutine
from http import HTTPStatus
from typing import Any, Final, Protocol, cast
from urllib.parse import SplitResult, urlsplit

import structlog
from websockets.datastructures import Headers
from websockets.exceptions import ProtocolError
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.server import ServerProtocol

from trade_engine.domain.errors import EngineError
from trade_engine.edge.auth.tokens import Principal
from trade_engine.edge.settings import StreamSettings
from trade_engine.edge.ws.hub import Hub
from trade_engine.http.addresses import network
from trade_engine.http.connections import PAUSE_MIN_S, Pace, Paces, Slot

log = structlog.get_logger(__name__)

EXPIRED: Final = 4401
TOO_SLOW: Final = 4408
TOO_MANY: Final = 4429
#: How long a client may take to answer a close, in seconds.
_CLOSE_S: Final = 5.0

_SLICE_BYTES: Final = 512
#: Of one connection in one turn of the loop.
_SLICES_A_TURN: Final = 4
#: What they cost beside a request over HTTP, which costs 1.
_SLICE_COST: Final = 1 / 16
_FRAME_COST: Final = 0.2
#: A message may come in fragments, between pings; so many frames a command go at the pace of commands.
_FRAMES_A_COMMAND: Final = 4
_FRAGMENTS_MAX: Final = 1_000
_PAUSE_MAX_S: Final = 1.0


class ClientSession(Protocol):
    """What a connection needs of what its client may do and has asked for."""

    @property
    def principals(self) -> Collection[Principal]:
        """Whom it is logged in as."""

    @property
    def under_way(self) -> int:
        """How many commands are being carried out."""

    def opened(self) -> None:
        """The handshake is done: from now on messages may be sent."""

    def receive(self, message: bytes) -> None:
        """Carry a message out, or say why not."""

    def expired(self) -> bool:
        """Whether it had a login that has ended."""

    def end(self) -> None:
        """The connection is gone."""


class ConnectionServer(Protocol):
    """What a connection needs of the server that it is at."""

    settings: StreamSettings
    hub: Hub
    #: The client's address, given the peer's and the handshake's headers.
    address_of: Callable[[Any, Headers], str]

    async def enter(self, connection: "StreamConnection", target: SplitResult, headers: Headers) -> ClientSession:
        """Let a client in that asks for this path; EngineError if it may not come in."""

    def show_refusal(self, path: str, error: EngineError) -> tuple[int, bytes]:
        """Status and body of a handshake that is refused."""

    def gone(self, connection: "StreamConnection") -> None:
        """Count it out."""

    def run(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something that outlives it."""


class StreamConnection(asyncio.Protocol):
    """A WebSocket connection; uvicorn makes one for each upgrade."""

    def __init__(self, server: ConnectionServer, server_state: Any, slot: Slot) -> None:
        self._server = server
        self._slot = slot
        self._settings = server.settings
        self._known = server_state.connections
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)
        self._wire = ServerProtocol(max_size=self._settings.max_message_bytes)
        self._parts: list[bytes] = []
        #: What was read and is not parsed yet, from ``_at`` on; and what reads on later.
        self._unread = b""
        self._at = 0
        self._later: asyncio.Handle | None = None
        self._admitting = False
        self._held = False
        self._frames = Paces(
            Pace(self._settings.commands_per_s * _FRAMES_A_COMMAND, self._settings.commands_burst * _FRAMES_A_COMMAND),
            1,
            self._loop.time,
        )
        #: Frames that wait, shared with other readers, and their bytes; while the socket takes no more they stay here.
        self._outbox: list[bytes] = []
        self._waiting_bytes = 0
        self._blocked = False
        self._ping_at = self._loop.time() + self._settings.ping_s
        self._pong_due: float | None = None
        self._full_since: float | None = None
        self._ended = False
        self.full = False
        #: The client's, as it is, and what it counts as.
        self.client = self.address = "unknown"
        self.session: ClientSession | None = None

    # ---- what asyncio and uvicorn call

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)
        # What the kernel does not take waits in the outbox, where a frame exists once for all its readers.
        self._transport.set_write_buffer_limits(high=0)
        # Left to itself the kernel keeps megabytes for a reader that stalls, and all of it is old when it reads on.
        raw: socket.socket = transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self._settings.socket_bytes)
        self._known.add(self)

    def data_received(self, data: bytes) -> None:
        """Take bytes in; at first the request for the upgrade, whole."""
        if self._wire.state is State.CONNECTING and not self._admitting:
            self._parse(data)
            return
        self._unread = self._unread[self._at :] + data if self._unread else data
        self._at = 0
        if self._later is None:
            self._read_on()

    def eof_received(self) -> None:
        """The client will send no more."""
        self._wire.receive_eof()
        self._write_wire()

    def pause_writing(self) -> None:
        """The kernel takes no more: frames stay in the outbox."""
        self._blocked = True

    def resume_writing(self) -> None:
        """There is room again."""
        self._blocked = False
        if self._held:
            self._read_soon()
        was_full, self.full = self.full, False
        self._full_since = None
        self.flush()
        if was_full and not self._ended:
            self._server.hub.resume(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over, whatever the reason."""
        del exc
        self._slot.release()
        self._known.discard(self)
        self._unread = b""
        if self._later is not None:
            self._later.cancel()
        self._end()

    def shutdown(self) -> None:
        """Close, because the server stops (uvicorn)."""
        self.close(CloseCode.GOING_AWAY, "the server stops")

    # ---- opening

    def _open(self, request: Request) -> None:
        target = urlsplit(request.path)
        response = self._wire.accept(request)
        if response.status_code != HTTPStatus.SWITCHING_PROTOCOLS:
            self._wire.send_response(response)
            return
        peer = self._transport.get_extra_info("peername")
        self.client = self._server.address_of(peer, request.headers)
        self.address = network(self.client)
        self._slot.speaks_for(self.address)
        self._admitting = True
        self._hold()
        self._server.run(self._admit(response, request.headers, target))

    async def _admit(self, response: Response, headers: Headers, target: SplitResult) -> None:
        """Let the client in, if it may come in."""
        try:
            self.session = await self._server.enter(self, target, headers)
        except EngineError as error:
            self._reject(*self._server.show_refusal(target.path, error))
        else:
            self._wire.send_response(response)
        self._write_wire()
        self._admitting = False
        if self.session is not None and not self._transport.is_closing():
            self.session.opened()
        self._read_on()

    def _reject(self, status: int, body: bytes) -> None:
        headers = Headers(
            {"Content-Type": "application/json", "Content-Length": str(len(body)), "Connection": "close"}
        )  # fmt: skip
        self._wire.send_response(Response(status, HTTPStatus(status).phrase, headers, body))

    # ---- reading

    def _read_soon(self) -> None:
        if self._later is None and not self._admitting:
            self._later = self._loop.call_soon(self._read_on)

    def _read_on(self) -> None:
        """Parse what was read, as far as it may be parsed now."""
        self._later = None
        for _ in range(_SLICES_A_TURN):
            if self._admitting:
                # Read on when it is decided.
                self._hold()
                return
            if self._transport.is_closing():
                self._unread = b""
                return
            wait_s = max(self._slot.wait_s(), min(self._frames.owed_s(""), _PAUSE_MAX_S))
            if wait_s:
                self._hold()
                self._later = self._loop.call_later(max(wait_s, PAUSE_MIN_S), self._read_on)
                return
            if self._blocked and self._transport.get_write_buffer_size() > self._settings.buffer_bytes:
                # Pongs that are not read wait here; read on when there is room.
                self._hold()
                return
            if not self._unread:
                self._go_on()
                return
            piece = self._unread[self._at : self._at + _SLICE_BYTES]
            self._at += _SLICE_BYTES
            if self._at >= len(self._unread):
                self._unread, self._at = b"", 0
            self._parse(piece)
        self._hold()
        self._read_soon()

    def _parse(self, piece: bytes) -> None:
        self._wire.receive_data(piece)
        events = self._wire.events_received()
        self._frames.charge("", len(events))
        self._slot.charge(_SLICE_COST + len(events) * _FRAME_COST)
        for event in events:
            if isinstance(event, Request):
                self._open(event)
            elif isinstance(event, Frame) and self.session is not None:
                self._frame(event)
        self._write_wire()

    def _hold(self) -> None:
        """Read nothing from the socket: the kernel slows the sender."""
        if not self._held and not self._transport.is_closing():
            self._held = True
            self._transport.pause_reading()

    def _go_on(self) -> None:
        if self._held and not self._transport.is_closing():
            self._held = False
            self._transport.resume_reading()

    def _frame(self, frame: Frame) -> None:
        if frame.opcode is Opcode.PONG:
            self._pong_due = None
        elif frame.opcode is Opcode.BINARY:
            self.close(CloseCode.UNSUPPORTED_DATA, "messages are text")
        elif frame.opcode in (Opcode.TEXT, Opcode.CONT):
            self._parts.append(bytes(frame.data))
            if len(self._parts) > _FRAGMENTS_MAX:
                self._parts = []
                self.close(CloseCode.POLICY_VIOLATION, f"a message has at most {_FRAGMENTS_MAX} fragments")
            elif frame.fin:
                message, self._parts = b"".join(self._parts), []
                if self.session is not None and not self._ended:
                    self.session.receive(message)

    # ---- writing

    def put(self, frame: bytes) -> bool:
        """Add to the outbox; whether it was empty."""
        self._outbox.append(frame)
        self._waiting_bytes += len(frame)
        if self._blocked and self._waiting_bytes > self._settings.buffer_bytes:
            self._overflow()
        return len(self._outbox) == 1

    def _overflow(self) -> None:
        """The outbox is full: the hub skips this connection until it has room."""
        if not self.full:
            self.full = True
            self._full_since = self._loop.time()
        if self._waiting_bytes > self._settings.private_bytes:
            self._drop()
            self._loop.call_soon(self.close, TOO_SLOW, "private messages wait unread")

    def flush(self) -> None:
        """Write the outbox, unless the socket takes no more: then it is written when there is room."""
        if not self._blocked and self._outbox:
            self._write_outbox()

    def _write_outbox(self) -> None:
        frames = b"".join(self._outbox)
        self._drop()
        if self._wire.state is State.OPEN and not self._transport.is_closing():
            self._transport.write(frames)

    def _drop(self) -> None:
        self._outbox.clear()
        self._waiting_bytes = 0

    @property
    def is_closing(self) -> bool:
        """Whether nobody will read what is sent."""
        return self._ended or self._transport.is_closing()

    def charge(self, cost: float) -> None:
        """Count what a message turned out to cost its address, beside its bytes."""
        self._slot.charge(cost)

    def send(self, frame: bytes) -> None:
        """Give it a frame of its own."""
        self._server.hub.send(self, frame)

    def _write_wire(self) -> None:
        for part in self._wire.data_to_send():
            if part:
                if not self._transport.is_closing():
                    self._transport.write(part)
            else:
                # The protocol's mark for: nothing follows.
                self._transport.close()
        if not self._ended and self._wire.close_expected():
            self._end()
            self._loop.call_later(_CLOSE_S, self._transport.abort)

    def close(self, code: int, reason: str) -> None:
        """Say goodbye; a client that does not answer is cut off."""
        if self._outbox:
            self._write_outbox()
        if self._wire.state is State.OPEN:
            self._wire.send_close(code, reason)
            self._write_wire()
        elif self._wire.state is State.CONNECTING:
            self._transport.close()
        if self.full:
            self._transport.abort()

    def _end(self) -> None:
        if not self._ended:
            self._ended = True
            self._server.gone(self)

    # ---- time

    def look_after(self, now: float) -> None:
        """Send a ping when it is time, and close what is dead, too slow, or no longer logged in; called each second."""
        settings = self._settings
        if self._wire.state is not State.OPEN:
            return
        if self._full_since is not None and now - self._full_since > settings.stalled_s:
            self._server.hub.counts.slow_closed += 1
            self.close(TOO_SLOW, "nothing was read for too long")
        elif self._pong_due is not None and now > self._pong_due and not self.full:
            self._wire.fail(CloseCode.INTERNAL_ERROR, "no pong")
            self._write_wire()
        elif self.session is not None and self.session.expired():
            self.close(EXPIRED, "the login has expired")
        elif now >= self._ping_at:
            self._ping_at = now + settings.ping_s
            if self._pong_due is None:
                self._pong_due = now + settings.pong_s
            try:
                self._wire.send_ping(b"")
            except ProtocolError:
                return
            self._write_wire()
