"""Places where a test, or an operator's drill, can make the engine crash, fail or stall.

Armed by ``TRADE_ENGINE_FAILPOINTS`` (``after_commit=crash@3,before_reserve=error``) or by ``arm``; off otherwise,
at the cost of one dictionary look-up.  Actions: ``crash`` ends the process as kill -9 would, ``error`` raises,
``stall`` waits until disarmed; ``@N`` acts at the N-th visit only.
"""

import asyncio
import os
import signal
from typing import Final

STEPS: Final = ("before_reserve", "after_reserve", "before_commit", "after_commit", "before_acknowledge")
ACTIONS: Final = ("crash", "error", "stall")


class FailpointError(RuntimeError):
    """What an armed ``error`` raises."""


class Failpoints:
    """The armed failpoints of one engine."""

    def __init__(self, armed: str = "") -> None:
        self._armed: dict[str, tuple[str, int]] = {}
        self._visits: dict[str, int] = {}
        for entry in filter(None, armed.split(",")):
            step, _, action = entry.partition("=")
            action, _, visit = action.partition("@")
            self.arm(step, action, int(visit or 0))

    def arm(self, step: str, action: str, visit: int = 0) -> None:
        """Arm a step; ValueError for one that does not exist.  ``visit`` 0 acts every time."""
        if step not in STEPS or action not in ACTIONS:
            raise ValueError(f"failpoint {step}={action}: steps are {STEPS}, actions are {ACTIONS}")
        self._armed[step] = (action, visit)
        self._visits[step] = 0

    def disarm(self, step: str) -> None:
        """Switch a step off; a stalled visitor goes on."""
        self._armed.pop(step, None)

    async def reach(self, step: str) -> None:
        """Pass a step, and suffer what is armed there.

        Raises:
            FailpointError: ``error`` is armed.
        """
        armed = self._armed.get(step)
        if armed is None:
            return
        action, visit = armed
        self._visits[step] += 1
        if visit and self._visits[step] != visit:
            return
        if action == "crash":
            os.kill(os.getpid(), signal.SIGKILL)
        if action == "error":
            raise FailpointError(f"failpoint {step}")
        while self._armed.get(step) == armed:
            await asyncio.sleep(0.005)
