"""What strangers (and ``customers``) do to a server on bad days, each as a program of its own, bounded in time.

For benchmarks and drills against a server of one's own; loopback only:

    python -m trade_engine.bench.attacks KIND PORT WEBSOCKET_PORT SECONDS [ADDRESS]
"""

import asyncio
import contextlib
import sys
import time
from collections.abc import Callable
from typing import Final

from trade_engine.bench.customers import CUSTOMERS, Attack

#: Connections of one attacker, and bytes it sends at a time.
_CONNECTIONS: Final = 20
_IDLE_CONNECTIONS: Final = 300
_BURST: Final = 200
_ATTACKS_S_MAX: Final = 600.0
_HANDSHAKE: Final = (
    b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
_MASK: Final = bytes(4)

Sender = Callable[[int], bytes]


def _frame(opcode: int, content: bytes = b"", *, final: bool = True) -> bytes:
    """A client's frame, masked with zeros."""
    return bytes(((0x80 if final else 0) | opcode, 0x80 | len(content))) + _MASK + content


def _get(path: str, headers: str = "") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n".encode()


async def _drain(reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(OSError):
        while await reader.read(65_536):
            pass


async def _stream(port: int, address: str, until_s: float, first: bytes, sender: Sender, pause_s: float) -> None:
    """One connection after another that sends as fast as it is read."""
    number = 0
    while time.monotonic() < until_s:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))
        except OSError:
            await asyncio.sleep(0.05)
            continue
        reading = asyncio.create_task(_drain(reader))
        with contextlib.suppress(OSError, TimeoutError):
            writer.write(first)
            while time.monotonic() < until_s and not reading.done():
                number += 1
                writer.write(sender(number))
                await asyncio.wait_for(writer.drain(), 5)
                await asyncio.sleep(pause_s)
        reading.cancel()
        writer.transport.abort()
        await asyncio.sleep(0.005)


def _many(sender: Sender, *, websocket: bool = False, pause_s: float = 0.0, connections: int = _CONNECTIONS) -> Attack:
    async def attack(port: int, websocket_port: int, address: str, until_s: float) -> None:
        where, first = (websocket_port, _HANDSHAKE) if websocket else (port, b"")
        await asyncio.gather(*(_stream(where, address, until_s, first, sender, pause_s) for _ in range(connections)))

    return attack


async def _idle(port: int, _: int, address: str, until_s: float) -> None:
    """Connections that say half of a request and nothing more."""
    writers: list[asyncio.StreamWriter] = []
    while time.monotonic() < until_s:
        with contextlib.suppress(OSError):
            _reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(address, 0))
            writer.write(b"POST /api/v1/orders HTTP/1.1\r\nHost: x\r\n")
            writers.append(writer)
        if len(writers) > _IDLE_CONNECTIONS:
            writers.pop(0).transport.abort()
        await asyncio.sleep(0.005)
    for writer in writers:
        writer.transport.abort()


#: Needs no login.
STRANGERS: Final[dict[str, Attack]] = {
    "websocket pings": _many(lambda _: _frame(9) * _BURST, websocket=True),
    "empty messages": _many(lambda _: _frame(1) * _BURST, websocket=True),
    "continuation frames": _many(lambda n: (_frame(1 if n == 1 else 0, b"x", final=False)) * _BURST, websocket=True),
    "pipelined requests": _many(lambda _: _get("/api/v1/time") * _BURST),
    "unknown paths": _many(lambda n: _get(f"/nowhere/{n}") * 4),
    "readiness flood": _many(lambda _: _get("/health/ready") * 4),
    "bad logins": _many(lambda n: _get("/api/v1/balances", f"Authorization: Bearer no.such.token{n}\r\n") * 4),
    "unknown API keys": _many(
        lambda n: _get("/api/v1/balances", f"X-API-Key: {n:032x}\r\nX-Timestamp: {int(time.time() * 1000)}\r\n"
                       f"X-Signature: {n:064x}\r\n") * 4
    ),
    "idle connections": _idle,
}  # fmt: skip


def main() -> None:
    """Carry one out."""
    kind, port, websocket_port, seconds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    address = sys.argv[5] if len(sys.argv) > 5 else "127.0.3.1"
    until_s = time.monotonic() + min(seconds, _ATTACKS_S_MAX)
    asyncio.run((STRANGERS | CUSTOMERS)[kind](port, websocket_port, address, until_s))


if __name__ == "__main__":
    main()
