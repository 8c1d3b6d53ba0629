"""The clients: which package in which venv, and which adapter speaks for it; and the process that runs its stories."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final, NamedTuple

from tests.conformance.stories import STORIES
from tests.conformance.stream_stories import LIST_STORIES, STREAM_STORIES
from trade_engine.edge.auth.public_keys import ED25519, RSA
from trade_engine.storage.api_keys import HMAC

HERE: Final = Path(__file__).resolve().parent
VENVS: Final = HERE.parent.parent / "build" / "conformance"
#: A story may take so long: some clients pace themselves.
_STORY_S: Final = 120.0


ORDERS: Final = "orders"
STREAMS: Final = "streams"
LISTS: Final = "lists"
TOLD: Final = {ORDERS: STORIES, STREAMS: STREAM_STORIES, LISTS: LIST_STORIES}


class Client(NamedTuple):
    """One client, or one mode of it."""

    adapter: str
    #: As its package index has it; each package has a venv, because two install a module of one name.
    package: str
    version: str
    #: Which stories it tells: of orders, of streams, of order lists on streams.
    tells: tuple[str, ...] = (ORDERS,)
    #: What its keys are.
    algorithm: str = HMAC

    @property
    def venv(self) -> Path:
        """Where it is installed."""
        return VENVS / f"{self.package}-{self.version}"

    @property
    def stories(self) -> list[str]:
        """The stories that it tells."""
        return [name for kind in self.tells for name in TOLD[kind]]


CLIENTS: Final = (
    Client("binance_connector", "binance-connector", "3.13.0"),
    Client("ccxt_rest", "ccxt", "4.5.90"),
    Client("ccxt_async", "ccxt", "4.5.90"),
    Client("python_binance", "python-binance", "1.0.37"),
    Client("python_binance_async", "python-binance", "1.0.37"),
    Client("ccxt_pro", "ccxt", "4.5.90", (ORDERS, STREAMS)),
    Client("python_binance_ws", "python-binance", "1.0.37", (ORDERS, STREAMS, LISTS)),
    Client("binance_connector_ws", "binance-connector", "3.13.0", (STREAMS, LISTS)),
    Client("binance_connector_ed25519", "binance-connector", "3.13.0", algorithm=ED25519),
    Client("python_binance_rsa", "python-binance", "1.0.37", algorithm=RSA),
)


def install(client: Client, within_s: float) -> str | None:
    """Install a client; what prevents it, None if it is there."""
    done = client.venv / "installed"
    if done.exists():
        return None
    end_s = time.monotonic() + within_s
    python = client.venv / "bin" / "python"
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    for command in (
        [sys.executable, "-m", "venv", str(client.venv)],
        [*pip, f"{client.package}=={client.version}"],
    ):
        try:
            ran = subprocess.run(
                command, capture_output=True, text=True, timeout=max(1.0, end_s - time.monotonic()), check=False
            )
        except (subprocess.TimeoutExpired, OSError) as error:
            return f"{client.package} {client.version} cannot be installed: {error}"
        if ran.returncode:
            return f"{client.package} {client.version} cannot be installed: {ran.stderr[-300:]}"
    done.touch()
    return None


class Driver:
    """The process in which a client runs."""

    def __init__(self, client: Client) -> None:
        python = client.venv / "bin" / "python"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        self._process = subprocess.Popen(
            [str(python), "-W", "ignore", str(HERE / "driver.py"), client.adapter],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment,
        )  # fmt: skip

    def tell(self, cell: dict[str, Any]) -> str | None:
        """Run a story: what failed, None if nothing did."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(cell) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            return "the client's process ended"
        failure = json.loads(line)["failure"]
        return None if failure is None else str(failure)

    def stop(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(_STORY_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
