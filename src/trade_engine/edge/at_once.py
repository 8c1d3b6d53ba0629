"""How many of one caller's readings of the database are under way; so nobody takes all connections for himself."""

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterator

from trade_engine.edge.problems import TooMany


class AtOnce:
    """Counts what each caller has under way.

    Args:
        most: of one caller.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._running: Counter[str] = Counter()
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    def set_most(self, most: int) -> None:
        """Let each caller have so many from now on; what is under way goes on."""
        self._most = most

    def __len__(self) -> int:
        """Callers with something under way."""
        return len(self._running)

    @contextlib.contextmanager
    def one(self, caller: str) -> Iterator[None]:
        """Do one thing for a caller.

        Raises:
            TooMany: TOO_MANY_QUERIES: so many are under way.
        """
        if self._running[caller] >= self._most:
            message = f"{self._most} of your queries are under way; wait for one of them"
            raise TooMany("TOO_MANY_QUERIES", message, limit=self._most)
        self._running[caller] += 1
        try:
            yield
        finally:
            self._end(caller)

    @contextlib.asynccontextmanager
    async def in_turn(self, caller: str) -> AsyncIterator[None]:
        """Do one thing for a caller, when it is its turn; whoever asks bounds how many may wait."""
        while self._running[caller] >= self._most:
            turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            waiting = self._waiting.setdefault(caller, deque())
            waiting.append(turn)
            try:
                await turn
            finally:
                if turn in waiting:
                    waiting.remove(turn)
                if not waiting:
                    self._waiting.pop(caller, None)
        with self.one(caller):
            yield

    def _end(self, caller: str) -> None:
        self._running[caller] -= 1
        if not self._running[caller]:
            del self._running[caller]
        for turn in self._waiting.get(caller, ()):
            if not turn.done():
                turn.set_result(None)
                break
