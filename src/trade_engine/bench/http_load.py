"""A lean HTTP/1.1 client for load: one request at a time on a kept connection, counted in microseconds.

For benchmarks and replays against a server of one's own; loopback addresses only.
"""

import asyncio
import ipaddress
from typing import Final

_HEAD_END: Final = b"\r\n\r\n"
_ANSWER_LIMIT_S: Final = 60.0


class LoadError(ConnectionError):
    """The server closed the connection, or did not answer in time."""


class HttpConnection(asyncio.Protocol):
    """One kept connection."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        self._transport = transport  # type: ignore[assignment]

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop."""
        self._transport = None
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(LoadError(f"connection lost: {exc!r}"))

    def data_received(self, chunk: bytes) -> None:
        """Called by the loop: complete the answer that is waited for."""
        buffer = self._buffer
        buffer += chunk
        head_end = buffer.find(_HEAD_END)
        if head_end < 0:
            return
        head = bytes(buffer[:head_end]).lower()
        at = head.find(b"content-length:")
        line_end = head.find(b"\r\n", at)
        length = int(head[at + 15 : line_end if line_end > 0 else None]) if at >= 0 else 0
        total = head_end + 4 + length
        if len(buffer) < total:
            return
        body = bytes(buffer[head_end + 4 : total])
        del buffer[:total]
        if self._answer is not None and not self._answer.done():
            self._answer.set_result((int(head[9:12]), body))

    @property
    def closed(self) -> bool:
        """Whether the server has closed it, as it does with those that are idle for too long."""
        return self._transport is None

    async def request(self, request: bytes) -> tuple[int, bytes]:
        """Send one request; its status and body.

        Raises:
            LoadError: the connection is gone, or 60 s passed.
        """
        if self._transport is None:
            raise LoadError("not connected")
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        try:
            return await asyncio.wait_for(self._answer, _ANSWER_LIMIT_S)
        except TimeoutError:
            raise LoadError("no answer within 60 s") from None

    def close(self) -> None:
        """Close the connection."""
        if self._transport is not None:
            self._transport.close()


async def connect(host: str, port: int) -> HttpConnection:
    """Open a connection to a loopback address.

    Raises:
        ValueError: the address is not on this machine.
        OSError: nobody listens there.
    """
    address = "127.0.0.1" if host == "localhost" else host
    if not ipaddress.ip_address(address).is_loopback:
        raise ValueError(f"load goes to this machine only, not to {host}")
    _, protocol = await asyncio.get_running_loop().create_connection(HttpConnection, address, port)
    return protocol


def build_request(method: str, path: str, token: str, body: bytes = b"") -> bytes:
    """The bytes of one request."""
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n"
    if body:
        head += "Content-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
