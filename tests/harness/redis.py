"""A private Redis for a test session: a free port, a folder of its own; it can be stopped, frozen and started again.

Or a primary, a replica and three Sentinels that watch them, each a process of its own.
"""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Final

from redis import Redis
from redis.exceptions import RedisError

from tests.harness.ports import steady_port

#: Names a server of your own for the tests; its keys of rate limits may be overwritten.
OVERRIDE: Final = "TRADE_ENGINE_TEST_REDIS_URL"


class RedisMissing(Exception):
    """No Redis to be had."""


class TestRedis:
    """A server on a port that stays the same over restarts."""

    __test__ = False

    def __init__(self, *options: str) -> None:
        binary = shutil.which("redis-server") or shutil.which("valkey-server")
        if binary is None:
            raise RedisMissing("redis-server is not on PATH (apt install redis-server)")
        self.binary = binary
        self._options = options
        self._folder = Path(tempfile.mkdtemp(prefix="te-redis-"))
        self.port = steady_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; it answers when this returns."""
        self._process = subprocess.Popen(
            [self.binary, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
             "--dir", str(self._folder), "--logfile", str(self._folder / "redis.log"),
             *self._options],
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


class TestSentinels:
    """A primary, its replica, and three Sentinels: two of them agree that the primary is away after half a second."""

    __test__ = False
    SERVICE: Final = "mymaster"

    def __init__(self) -> None:
        self.primary = TestRedis()
        self.replica = TestRedis("--replicaof", "127.0.0.1", str(self.primary.port))
        self._folder = Path(tempfile.mkdtemp(prefix="te-sentinel-"))
        self._sentinels: list[tuple[int, subprocess.Popen[bytes]]] = []

    @property
    def url(self) -> str:
        """The address that an engine is given."""
        places = ",".join(f"127.0.0.1:{port}" for port, _ in self._sentinels)
        return f"redis+sentinel://{places}/{self.SERVICE}/0"

    def start(self) -> None:
        """Start all; the Sentinels know of each other and of the replica when this returns."""
        self.primary.start()
        self.replica.start()
        for _ in range(3):
            port = steady_port()
            file = self._folder / f"{port}.conf"
            file.write_text(
                f"port {port}\nbind 127.0.0.1\ndir {self._folder}\nlogfile {self._folder}/{port}.log\n"
                f"sentinel monitor {self.SERVICE} 127.0.0.1 {self.primary.port} 2\n"
                f"sentinel down-after-milliseconds {self.SERVICE} 500\n"
                f"sentinel failover-timeout {self.SERVICE} 3000\n"
            )
            process = subprocess.Popen([self.primary.binary, str(file), "--sentinel"], stdout=subprocess.DEVNULL)
            self._sentinels.append((port, process))
        until = time.monotonic() + 30
        while not all(self._is_ready(port) for port, _ in self._sentinels):
            if time.monotonic() > until:
                raise RedisMissing(f"the Sentinels do not find each other; see {self._folder}")
            time.sleep(0.1)

    def _is_ready(self, port: int) -> bool:
        with Redis(port=port, decode_responses=True) as sentinel:
            try:
                known = sentinel.sentinel_master(self.SERVICE)
            except RedisError:
                return False
            return bool(known["num-other-sentinels"] == 2 and known["num-slaves"] == 1)

    def freeze_sentinel(self) -> None:
        """Let the one that is asked first take connections and answer nothing."""
        os.kill(self._sentinels[0][1].pid, signal.SIGSTOP)

    def remove(self) -> None:
        """End all, and delete their folders."""
        for _, process in self._sentinels:
            process.kill()
            process.wait()
        self.replica.remove()
        self.primary.remove()
        shutil.rmtree(self._folder, ignore_errors=True)
