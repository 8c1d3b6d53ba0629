"""Outlives a drill that was killed, for a moment: stops its private PostgreSQL and removes its folder.

The drill holds the other end of standard input; when that closes, the drill is gone.
"""

import shutil
import signal
import sys
import time
from pathlib import Path

from tests.survive.processes import children, send
from trade_engine.storage.embedded.account import find_home
from trade_engine.storage.embedded.postmaster import read_postmaster
from trade_engine.storage.embedded.processes import is_alive


def clean(data_dir: Path) -> None:
    """End what runs on the data directory, stopped or not, and delete it."""
    home = find_home(data_dir)
    found = read_postmaster(home / "cluster") if home else None
    if found is not None:
        for pid in (*children(found.pid), found.pid):
            send(pid, signal.SIGCONT)
        send(found.pid, signal.SIGQUIT)
        until = time.monotonic() + 10
        while is_alive(found.pid) and time.monotonic() < until:
            time.sleep(0.05)
        send(found.pid, signal.SIGKILL)
    for folder in (home, data_dir):
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.stdin.buffer.read()
    for folder in sys.argv[1:]:
        clean(Path(folder))
