"""A private Redis for a test session: a free port, a folder of its own; it can be stopped, frozen and started again."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Final

#: Names a server of your own for the tests; its keys of rate limits may be overwritten.
OVERRIDE: Final = "TRADE_ENGINE_TEST_REDIS_URL"


class RedisMissing(Exception):
    """No Redis to be had."""


class TestRedis:
    """A server on a port that stays the same over restarts."""

    __test__ = False

    def __init__(self) -> None:
        binary = shutil.which("redis-server") or shutil.which("valkey-server")
        if binary is None:
            raise RedisMissing("redis-server is not on PATH")
        self._binary = binary
        self._folder = Path(tempfile.mkdtemp(prefix="te-redis-"))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; it answers when this returns."""
        self._process = subprocess.Popen(
            [self._binary, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
             "--dir", str(self._folder), "--logfile", str(self._folder / "redis.log")],
        )  # fmt: skip
        until = time.monotonic() + 10
        while time.monotonic() < until:
            if self._process.poll() is not None:
                break
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1) as asked:
                    asked.sendall(b"PING\r\n")
                    if asked.recv(16).startswith(b"+PONG"):
                        return
            except OSError:
                time.sleep(0.02)
        raise RedisMissing(f"redis-server did not start: {(self._folder / 'redis.log').read_text()[-500:]}")

    def freeze(self) -> None:
        """Let it take connections and answer nothing."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def stop(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def remove(self) -> None:
        """End it and delete its folder."""
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _signal(self, number: int) -> None:
        if self._process is None:
            raise RedisMissing("the server is not running")
        os.kill(self._process.pid, number)
