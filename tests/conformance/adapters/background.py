"""What reads streams while a story goes on: a loop in a thread, and feeds that keep all that came."""

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

_WITHIN_S = 30.0

_loop = asyncio.new_event_loop()
threading.Thread(target=_loop.run_forever, name="client", daemon=True).start()


def do(work: Coroutine[Any, Any, Any]) -> Any:
    """Do something in the loop, and say what came of it."""
    return asyncio.run_coroutine_threadsafe(work, _loop).result(_WITHIN_S)


class Feed:
    """All that came on one stream, in order; ``failure`` is what ended it."""

    def __init__(self, close: Callable[[], None] = lambda: None) -> None:
        self.events: list[Any] = []
        self.failure: BaseException | None = None
        self.close = close

    def until(self, holds: Callable[[list[Any]], Any]) -> Any:
        """Wait until something holds of what has come, and say what it is."""
        end_s = time.monotonic() + _WITHIN_S
        while not (found := holds(list(self.events))):
            if self.failure is not None:
                raise self.failure
            assert time.monotonic() < end_s, f"it did not come: {self.events[-3:]}"
            time.sleep(0.02)
        return found


def feed_of(read: Callable[[Feed], Coroutine[Any, Any, None]]) -> Feed:
    """A feed that a coroutine fills for as long as it is wanted."""

    async def run() -> None:
        try:
            await read(feed)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - whoever waits is told
            feed.failure = error

    task = asyncio.run_coroutine_threadsafe(run(), _loop)

    def stop() -> None:
        task.cancel()

    feed = Feed(stop)
    return feed
