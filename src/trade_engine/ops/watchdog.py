"""A watchdog beside the event loop: when the loop stands still, it logs what every thread is doing.

It never ends the process: a loop that stands still for a second may hold commits that are about to be acknowledged.
"""

import asyncio
import contextlib
import sys
import threading
import time
import traceback
from typing import Final

import structlog

log = structlog.get_logger(__name__)

_BEAT_S: Final = 0.1
#: Frames of a stack that are logged.
_FRAMES_MAX: Final = 30


class Watchdog:
    """Watches the loop that runs ``keep_running`` from a thread of its own.

    Args:
        stalled_after_s: a loop that has not come round for so long is stalled.
        quiet_s: how long after a stall the engine still counts as unwell.
    """

    def __init__(self, stalled_after_s: float = 2.0, quiet_s: float = 5.0) -> None:
        self._stalled_after_s = stalled_after_s
        self._quiet_s = quiet_s
        self._last_s = time.monotonic()
        self._stopped = threading.Event()
        self._loop_thread = 0
        self._last_stall_s: float | None = None
        #: Stalls seen, and the longest of them in seconds.
        self.stalls = 0
        self.longest_s = 0.0

    def condition(self) -> str:
        """``ok``, or that the loop stands, or stood a moment ago."""
        if self._last_stall_s is not None and time.monotonic() - self._last_stall_s < self._quiet_s:
            return f"the event loop stood still for {self.longest_s:.1f} s"
        return "ok"

    async def keep_running(self) -> None:
        """Beat, until cancelled, and have a thread watch the beats."""
        self._last_s = time.monotonic()
        self._loop_thread = threading.get_ident()
        self._stopped.clear()
        thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        thread.start()
        try:
            while True:
                await asyncio.sleep(_BEAT_S)
                self._last_s = time.monotonic()
        finally:
            self._stopped.set()

    def _watch(self) -> None:
        told = False
        while not self._stopped.wait(_BEAT_S):
            now_s = time.monotonic()
            still_s = now_s - self._last_s
            if still_s < self._stalled_after_s:
                told = False
                continue
            self._last_stall_s = now_s
            self.longest_s = max(self.longest_s, still_s)
            if not told:
                told = True
                self.stalls += 1
                self._tell(still_s)

    def _tell(self, still_s: float) -> None:
        stacks = {}
        with contextlib.suppress(RuntimeError):
            names = {thread.ident: thread.name for thread in threading.enumerate()}
            for ident, frame in sys._current_frames().items():  # noqa: SLF001 - the documented way to a thread's stack
                if ident != threading.get_ident():
                    name = "event loop" if ident == self._loop_thread else names.get(ident, str(ident))
                    stacks[name] = "".join(traceback.format_stack(frame, _FRAMES_MAX))
        log.error("event_loop_stalled", seconds=round(still_s, 1), stacks=stacks)
