"""Verification on an operator's demand: in a process of its own, at low priority, so that the engine's loop goes on.

python -m trade_engine.bootstrap.verification      # what `Verifications` starts: asked on stdin, answers on stdout
"""

import asyncio
import os
import sys
from collections.abc import Callable
from typing import Any, Final

import msgspec
import structlog
import uvloop

from trade_engine.edge.backoffice import Verified
from trade_engine.matching.books import new_book
from trade_engine.ops.supervisor import Death, Supervisor
from trade_engine.sequencer.verify import verify
from trade_engine.sequencer.verify.report import Report
from trade_engine.storage.reach import connect

log = structlog.get_logger(__name__)

_TASK: Final = "verification"
_LATER: Final = 19
#: The longest that one may take.
_WITHIN_S: Final = 4 * 3_600.0
_SAID_MAX: Final = 500


class Asked(msgspec.Struct):
    """What is to be verified: a database, and whether the ledger is in it."""

    url: str
    ledger: bool


class Verifications:
    """One at a time; ``last`` is the one that runs, or the latest since this process started.

    Args:
        asked: which database.
        supervisor: runs it.
        clock_us: microseconds since 1970.
    """

    def __init__(self, asked: Asked, supervisor: Supervisor, clock_us: Callable[[], int]) -> None:
        self._asked = asked
        self._supervisor = supervisor
        self._clock_us = clock_us
        self.last: Verified | None = None

    def start(self) -> Verified:
        """Begin one; the one that runs, if there is one."""
        if self.last is None or not self.last.running:
            self.last = Verified(started_us=self._clock_us(), running=True)
            self._supervisor.start(_TASK, self._run, Death.DONE)
        return self.last

    async def _run(self) -> None:
        began = self.last or Verified(started_us=self._clock_us(), running=True)
        try:
            async with asyncio.timeout(_WITHIN_S):
                report = await self._verify()
        except (OSError, TimeoutError, ValueError) as error:
            log.error("verification_failed", reason=str(error))
            found: dict[str, Any] = {"failure": str(error) or "it took too long"}
        else:
            found = {
                "ok": report.ok, "journal_batches": report.journal_batches, "journal_head": report.journal_head,
                "differences": report.differences,
            }  # fmt: skip
        self.last = msgspec.structs.replace(began, running=False, ended_us=self._clock_us(), **found)

    async def _verify(self) -> Report:
        pipe = asyncio.subprocess.PIPE
        words = (sys.executable, "-m", __name__)
        process = await asyncio.create_subprocess_exec(*words, stdin=pipe, stdout=pipe, stderr=pipe)
        try:
            # The url by stdin: it may hold a password, which a command line would show.
            out, said = await process.communicate(msgspec.json.encode(self._asked))
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode:
            raise ValueError(said.decode(errors="replace").strip()[-_SAID_MAX:] or f"status {process.returncode}")
        return msgspec.json.decode(out, type=Report)


async def _answer(asked: Asked) -> Report:
    connection = await connect(asked.url)
    try:
        return await verify(connection, new_book, lambda *_: None, ledger=asked.ledger)
    finally:
        await connection.close()


if __name__ == "__main__":
    os.nice(_LATER)
    sys.stdout.buffer.write(
        msgspec.json.encode(uvloop.run(_answer(msgspec.json.decode(sys.stdin.buffer.read(), type=Asked))))
    )
