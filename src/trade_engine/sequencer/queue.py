"""The requests that wait for the writer, in order of arrival, and how it waits for them."""

import asyncio
import contextlib
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from trade_engine.sequencer.engine_request import EngineRequest

#: How long a batch waits for orders that are about to arrive.
_ADMISSION_S: Final = 0.01


class RequestQueue:
    """First come, first served; its owner bounds it."""

    def __init__(self) -> None:
        self._waiting: deque[EngineRequest] = deque()
        self._wake = asyncio.Event()
        self._admitting = 0
        self._admitted = asyncio.Event()

    def submit(self, requests: Iterable[EngineRequest]) -> None:
        """Queue requests, in order, after those that wait."""
        self._waiting.extend(requests)
        self._wake.set()

    def put_back(self, requests: Sequence[EngineRequest]) -> None:
        """Queue requests, in order, before those that wait."""
        self._waiting.extendleft(reversed(requests))

    def wake(self) -> None:
        """Let the writer come round."""
        self._wake.set()

    def begin_admission(self) -> None:
        """Say that orders are about to arrive together: a batch of cancels alone waits for them a moment."""
        self._admitting += 1
        self._admitted.clear()

    def end_admission(self) -> None:
        """Say that they have arrived (or failed)."""
        self._admitting -= 1
        self._admitted.set()

    async def arrival(self, within_s: float) -> None:
        """Wait until something arrives, or the writer is woken, or time is up."""
        if not self._waiting:
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), within_s)

    async def admission(self) -> None:
        """Wait a moment for orders that are about to arrive, if others wait already."""
        if self._admitting and self._waiting:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._admitted.wait(), _ADMISSION_S)

    def take(self, count: int) -> list[EngineRequest]:
        """The first ``count``, or as many as there are."""
        return [self._waiting.popleft() for _ in range(min(len(self._waiting), count))]

    def take_late(self, before_s: float) -> list[EngineRequest]:
        """The first ones, as far as they came before a time of the loop."""
        late = []
        while self._waiting and self._waiting[0].submitted_s < before_s:
            late.append(self._waiting.popleft())
        return late

    def __iter__(self) -> Iterator[EngineRequest]:
        """Those that wait, first come first."""
        return iter(self._waiting)

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)
