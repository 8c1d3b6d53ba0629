"""A WebSocket client of the face, on the `websockets` library: keeps every message, in order."""

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed


class Socket:
    """One connection."""

    def __init__(self, link: ClientConnection) -> None:
        self.link = link
        self.messages: list[Any] = []
        self._ids = itertools.count(1_000)
        self._arrived = asyncio.Event()
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        with contextlib.suppress(ConnectionClosed):
            async for message in self.link:
                self.messages.append(json.loads(message))
                self._arrived.set()
        self._arrived.set()

    async def until(self, holds: Callable[[], Any]) -> Any:
        """Wait until something holds of what has come, and say what it is."""
        async with asyncio.timeout(20):
            while not (found := holds()):
                assert not self._reader.done(), f"the connection ended: {self.link.close_code}, {self.messages[-3:]}"
                self._arrived.clear()
                await self._arrived.wait()
        return found

    async def ask(self, method: str, params: Any = None, **more: Any) -> Any:
        """Send a request: its whole answer."""
        number = next(self._ids)
        request = {"method": method, "id": number, **more}
        await self.link.send(json.dumps(request if params is None else request | {"params": params}))
        return await self.until(
            lambda: next((m for m in self.messages if isinstance(m, dict) and m.get("id") == number), None)
        )

    def events(self, kind: str) -> list[Any]:
        """The events of a kind that have come, without the name of their stream."""
        bare = [message.get("data", message) for message in self.messages if isinstance(message, dict)]
        return [event for event in bare if isinstance(event, dict) and event.get("e") == kind]

    async def event(self, kind: str, count: int = 1) -> Any:
        """The n-th event of a kind, when it has come."""
        return (await self.until(lambda: self.events(kind)[count - 1 :]))[0]

    async def closed(self) -> int:
        """Wait for the end: its code."""
        await asyncio.wait_for(self._reader, 20)
        return self.link.close_code or 0


@contextlib.asynccontextmanager
async def socket(port: int, path: str = "/ws") -> AsyncIterator[Socket]:
    """A connection."""
    async with connect(f"ws://127.0.0.1:{port}{path}", max_size=None) as link:
        one = Socket(link)
        try:
            yield one
        finally:
            await link.close()
            await asyncio.wait_for(one._reader, 20)
