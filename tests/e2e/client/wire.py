"""A TCP relay before the venue that cuts connections, and loses single WebSocket messages, when told to."""

import asyncio
import contextlib
from types import TracebackType
from typing import Self


class Wire:
    """Passes bytes both ways; what the server sends is looked at frame by frame after the handshake."""

    def __init__(self, upstream: int) -> None:
        self._upstream = upstream
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._losing: bytes | None = None
        self._cutting: bytes | None = None
        self.lost = 0

    @property
    def url(self) -> str:
        """Where it listens."""
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def lose_one(self, text: bytes) -> None:
        """Drop the next message of the server that has this text."""
        self._losing = text

    def cut_before(self, text: bytes) -> None:
        """Cut instead of passing on the next message of the server that has this text."""
        self._cutting = text

    def cut(self) -> None:
        """Reset every connection."""
        for writer in list(self._writers):
            writer.transport.abort()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        back_reader, back_writer = await asyncio.open_connection("127.0.0.1", self._upstream)
        self._writers |= {writer, back_writer}
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                up = asyncio.create_task(self._pass(reader, back_writer))
                try:
                    await self._watch(back_reader, writer)
                finally:
                    up.cancel()
                    await asyncio.gather(up, return_exceptions=True)
        finally:
            for end in (writer, back_writer):
                self._writers.discard(end)
                end.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while part := await reader.read(65536):
                writer.write(part)
                await writer.drain()

    async def _watch(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        writer.write(head)
        if b" 101 " not in head:
            await self._pass(reader, writer)
            return
        while True:
            frame, payload = await self._frame(reader)
            if self._losing is not None and self._losing in payload:
                self._losing = None
                self.lost += 1
                continue
            if self._cutting is not None and self._cutting in payload:
                self._cutting = None
                return
            writer.write(frame)
            await writer.drain()

    async def _frame(self, reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
        """A frame of a server: not masked."""
        head = await reader.readexactly(2)
        size = head[1] & 127
        if size >= 126:
            extra = await reader.readexactly(2 if size == 126 else 8)
            head, size = head + extra, int.from_bytes(extra)
        payload = await reader.readexactly(size)
        return head + payload, payload
