"""What strangers send does not stay: an engine's process with its usual limits is as large after a flood as before."""

import asyncio
import contextlib
import time
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.engines import EngineProcess

MASK: Final = b"\0\0\0\0"
HANDSHAKE: Final = (
    b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
FLOODS: Final = {
    "pipelined requests": (b"", b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n"),
    "pings": (HANDSHAKE, b"\x89\x80" + MASK),
    "continuation frames": (HANDSHAKE + b"\x01\x80" + MASK, b"\x00\x80" + MASK),
    "readiness": (b"", b"GET /health/ready HTTP/1.1\r\nHost: x\r\n\r\n"),
    "chunks": (b"POST /api/v1/orders HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
}
ROOM_MB: Final = 50


def size_mb(engine: EngineProcess) -> int:
    """Memory that the process has now."""
    return int(Path(f"/proc/{engine.process.pid}/statm").read_text().split()[1]) * 4096 // 2**20


async def flood(port: int, first: bytes, piece: bytes, until_s: float) -> None:
    """Send without reading, for a time; again and again if the connection ends."""
    while time.monotonic() < until_s:
        with contextlib.suppress(OSError, TimeoutError):
            _, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=("127.0.3.7", 0))
            writer.write(first)
            while time.monotonic() < until_s:
                writer.write(piece * 20_000)
                await asyncio.wait_for(writer.drain(), max(0.1, until_s - time.monotonic()))
        with contextlib.suppress(UnboundLocalError):
            writer.transport.abort()
        await asyncio.sleep(0.05)


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="there is no /proc to read a process's size from")
async def test_memory_is_as_before_a_flood(database_url: str, tmp_path: Path) -> None:
    usual = {f"RATE_LIMIT__{name}_PER_S": "100" for name in ("ORDERS", "QUERIES", "ADDRESS", "PUBLIC")}
    engine = EngineProcess(tmp_path / "data", database_url, **usual).start()
    try:
        await engine.ready()
        before_mb = size_mb(engine)
        for kind, (first, piece) in FLOODS.items():
            until_s = time.monotonic() + 2
            await asyncio.gather(*(flood(engine.port, first, piece, until_s) for _ in range(10)))
            assert size_mb(engine) <= before_mb + ROOM_MB, kind
            assert await engine.is_ready(), kind
    finally:
        engine.stop()
