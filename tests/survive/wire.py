"""One caller's line to whatever engine runs: a connection from an address of its own, opened when it is needed."""

import asyncio
import contextlib
import json
from collections.abc import Callable
from typing import Any, NamedTuple

_HEAD_END = b"\r\n\r\n"


class Unanswered(Exception):
    """The connection was lost or refused before the answer: nobody knows what became of the request."""


class NeverSent(Unanswered):
    """Nobody listens: the request did not leave."""


class Overdue(Unanswered):
    """Neither an answer nor the end of the connection in the time that the server gives a request."""


class Answer(NamedTuple):
    """What came back."""

    status: int
    content: Any

    @property
    def code(self) -> str:
        """The error's code; empty on success."""
        error = self.content.get("error") if isinstance(self.content, dict) else None
        return str(error.get("code", "")) if isinstance(error, dict) else ""

    @property
    def data(self) -> Any:
        """What the answer is about."""
        return self.content["data"]


class Line:
    """Requests one after the other, each answered within ``patience_s`` or it raises.

    Args:
        port: which port to call at this moment.
        address: this caller's own, 127.x.y.z, so that it counts apart from others.
        token: a login, or none.
        patience_s: how long the server may take at most.
    """

    def __init__(self, port: Callable[[], int], address: str, token: str = "", patience_s: float = 20.0) -> None:
        self._port = port
        self._address = address
        self._head = f"Host: localhost\r\nAuthorization: Bearer {token}\r\n" if token else "Host: localhost\r\n"
        self._patience_s = patience_s
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._open_to = 0

    async def ask(self, method: str, path: str, body: Any = None) -> Answer:
        """Send one request: its answer.

        Raises:
            Unanswered: as its kinds say.
        """
        content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        kind = "Content-Type: application/json\r\n" if content else ""
        head = f"{method} {path} HTTP/1.1\r\n{self._head}{kind}Content-Length: {len(content)}\r\n\r\n"
        try:
            async with asyncio.timeout(self._patience_s):
                reader, writer = await self._opened()
                writer.write(head.encode() + content)
                return await self._answer(reader)
        except TimeoutError as error:
            self.close()
            raise Overdue(f"{method} {path} was not answered in {self._patience_s} s") from error
        except (OSError, asyncio.IncompleteReadError, ValueError) as error:
            self.close()
            raise Unanswered(f"{method} {path}: {error!r}") from error
        except BaseException:
            self.close()
            raise

    async def _opened(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        port = self._port()
        if self._reader is None or self._writer is None or self._reader.at_eof() or port != self._open_to:
            self.close()
            try:
                opened = await asyncio.open_connection("127.0.0.1", port, local_addr=(self._address, 0))
            except OSError as error:
                raise NeverSent(str(error)) from error
            self._reader, self._writer = opened
            self._open_to = port
        return self._reader, self._writer

    async def _answer(self, reader: asyncio.StreamReader) -> Answer:
        head = await reader.readuntil(_HEAD_END)
        status = int(head[9:12])
        at = head.lower().find(b"content-length:")
        length = int(head[at + 15 : head.find(b"\r\n", at)]) if at >= 0 else 0
        content = await reader.readexactly(length)
        if b"connection: close" in head.lower():
            self.close()
        try:
            return Answer(status, json.loads(content) if content else None)
        except ValueError:
            return Answer(status, content.decode(errors="replace"))

    def close(self) -> None:
        """Hang up."""
        if self._writer is not None:
            with contextlib.suppress(OSError, RuntimeError):
                self._writer.transport.abort()
        self._reader = self._writer = None
