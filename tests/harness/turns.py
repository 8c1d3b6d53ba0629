"""How much a server does in one turn of its loop."""

import asyncio
from typing import Self


class Turns:
    """Counts what happens, in all and at most in one turn of the loop; a context."""

    def __init__(self) -> None:
        self.now = self.most = self.all = 0

    def one(self) -> None:
        """It happened."""
        self.now += 1
        self.all += 1
        self.most = max(self.most, self.now)

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._turn())
        return self

    async def __aexit__(self, *error: object) -> None:
        self._task.cancel()

    async def _turn(self) -> None:
        while True:
            self.now = 0
            await asyncio.sleep(0)
