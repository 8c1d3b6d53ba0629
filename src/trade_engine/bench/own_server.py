"""A server of the benchmark's own: a process on a free port of this machine, whose data are thrown away with it."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from trade_engine.bench.errors import BenchError
from trade_engine.bootstrap.attached import attached_wallet
from trade_engine.config import Config, load_config
from trade_engine.domain.scale import MAX_UNITS
from trade_engine.edge.auth.tokens import issue_token

#: What every rate limit is raised to, a second.
RATE_LIMIT: Final = 1_000_000
#: The environment's DATABASE_URL is not meant for it.
_ALONE: Final = {"TRADE_ENGINE_USUAL_NAMES": "off"}


@contextmanager
def running_server(data_dir: Path, **settings: str) -> Iterator[int]:
    """As ``running_process``: its port alone."""
    with running_process(data_dir, **settings) as (port, _):
        yield port


@contextmanager
def running_process(data_dir: Path, **settings: str) -> Iterator[tuple[int, int]]:
    """A server as a process of its own on a free port, the rate limit raised; ended with the block: port and pid.

    Raises:
        BenchError: it did not come up within 60 s.
    """
    environment = (
        os.environ
        | _ALONE
        | {
            "TRADE_ENGINE__SERVER__ECHO_ROUTE": "true",
            "TRADE_ENGINE__SERVER__WEBSOCKET_PORT": "0",
            "TRADE_ENGINE__SERVER__METRICS_PORT": "0",
            "TRADE_ENGINE__LOGGING__LEVEL": "warning",
            **{f"TRADE_ENGINE__RATE_LIMIT__{name}": str(RATE_LIMIT) for name in ("ORDERS_PER_S", "ORDERS_BURST")},
            **{f"TRADE_ENGINE__RATE_LIMIT__{name}": str(RATE_LIMIT) for name in ("QUERIES_PER_S", "QUERIES_BURST")},
            **{f"TRADE_ENGINE__RATE_LIMIT__{name}": str(RATE_LIMIT) for name in ("PUBLIC_PER_S", "PUBLIC_BURST")},
            **{f"TRADE_ENGINE__RATE_LIMIT__{name}": str(RATE_LIMIT) for name in ("ADDRESS_PER_S", "ADDRESS_BURST")},
            **settings,
        }
    )
    port = free_port()
    log = data_dir.parent / "server.log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "trade_engine.cli", "serve", "--data-dir", str(data_dir), "--port", str(port)],
            env=environment,
            stdout=output,
            stderr=output,
        )
        try:
            _wait_until_ready(port, server, log)
            yield port, server.pid
        finally:
            server.send_signal(signal.SIGTERM)
            try:
                server.wait(30)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def own_config() -> Config:
    """The options that such a server and what is beside it share."""
    return load_config(None, None, os.environ | _ALONE)


def free_port() -> int:
    """A TCP port that is free on loopback at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_ready(port: int, server: "subprocess.Popen[bytes]", log: Path) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until and server.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=1) as answer:
                if json.load(answer)["status"] == "ready":
                    return
        except OSError:
            time.sleep(0.05)
    raise BenchError(f"the server did not come up: {log.read_text(errors='replace')[-2000:]}")


def user_ids(users: int) -> list[str]:
    """So many users of a benchmark, the same in every run."""
    return [str(uuid.uuid5(uuid.NAMESPACE_OID, f"bench user {n}")) for n in range(users)]


async def funded_tokens(url: str, secret: str, users: int) -> list[str]:
    """Tokens of so many users with funds for any flow."""
    ids = user_ids(users)
    async with attached_wallet(url) as wallet:
        for user in ids:
            for asset in ("USDT", "BTC", "ETH"):
                await wallet.deposit(user, asset, MAX_UNITS // 100, str(uuid.uuid4()))
    return [issue_token(secret, user, ttl_s=3_600) for user in ids]
