"""`trade-engine` on a machine whose clock is set while it runs: what a drill runs instead of the program itself.

    TRADE_ENGINE_CLOCK_OFFSET_FILE=/tmp/offset python tests/harness/clocked_serve.py serve --data-dir ... --port ...

The file holds by how many seconds the engine's wall clock is ahead of the machine's (``259200``, ``-3.5``); it may be
missing, and is looked at again every 10 ms.  Nothing else of the process sees the change: tokens keep their times.
"""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

from trade_engine.sequencer import clock

OFFSET_FILE = "TRADE_ENGINE_CLOCK_OFFSET_FILE"
_LOOK_EVERY_S = 0.01


def shifted(file: Path, real: Callable[[], int]) -> Callable[[], int]:
    """A wall clock that is ahead of ``real`` by the seconds in ``file``."""
    offset_us = 0
    looked_s = float("-inf")

    def now_us() -> int:
        nonlocal offset_us, looked_s
        if time.monotonic() - looked_s >= _LOOK_EVERY_S:
            looked_s = time.monotonic()
            try:
                offset_us = int(float(file.read_text() or 0) * 1e6)
            except FileNotFoundError:
                offset_us = 0
        return real() + offset_us

    return now_us


def main() -> None:
    """Run the command line with the clock shifted, if the environment names a file."""
    file = os.environ.get(OFFSET_FILE)
    if file:
        clock.wall_clock_us = shifted(Path(file), clock.wall_clock_us)
    from trade_engine.cli import main as run

    sys.argv[0] = "trade-engine"
    run()


if __name__ == "__main__":
    # This folder has modules that are called as packages are.
    sys.path.remove(str(Path(__file__).parent))
    main()
