"""A connection's transport as the HTTP protocol sees it: writes are gathered, and two may stop the reading."""

import asyncio
from collections.abc import Callable
from typing import Any


class OneWrite:
    """A transport that writes what the loop's turn brought at once: uvicorn gives head and body one by one.

    Reading stops while uvicorn has paused it, and while the protocol holds it.

    Args:
        read_on: called when uvicorn reads on; there may be something that was read before.
    """

    def __init__(
        self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop, read_on: Callable[[], None]
    ) -> None:
        self.inner = transport
        self._loop = loop
        self._read_on = read_on
        self._parts: list[bytes] = []
        self._paused = False
        self._stopped = False
        #: Whether the protocol holds the reading.
        self.held = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    # ---- writing

    def write(self, data: bytes) -> None:
        """Write, when this turn of the loop is over."""
        if not self._parts:
            self._loop.call_soon(self.flush)
        self._parts.append(data)

    def flush(self) -> None:
        """Write now."""
        if self._parts:
            data, self._parts = b"".join(self._parts), []
            if not self.inner.is_closing():
                self.inner.write(data)

    def close(self) -> None:
        """Write what waits, and close."""
        self.flush()
        self.inner.close()

    # ---- reading

    def pause_reading(self) -> None:
        """Read no more, says uvicorn."""
        self._paused = True
        self._follow()

    def resume_reading(self) -> None:
        """Read on, says uvicorn."""
        self._paused = False
        self._follow()
        self._read_on()

    def hold(self) -> None:
        """Read no more, says the protocol."""
        self.held = True
        self._follow()

    def release(self) -> bool:
        """Read on, says the protocol; whether it had held the reading."""
        was_held, self.held = self.held, False
        self._follow()
        return was_held

    def hand_over(self) -> asyncio.Transport:
        """The transport itself, reading and with nothing left to write, for another protocol."""
        self.flush()
        self._paused = self.held = False
        self._follow()
        return self.inner

    def _follow(self) -> None:
        stop = self._paused or self.held
        if stop is self._stopped or self.inner.is_closing():
            return
        self._stopped = stop
        if stop:
            self.inner.pause_reading()
        else:
            self.inner.resume_reading()
