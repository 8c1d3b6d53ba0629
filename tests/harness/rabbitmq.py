"""A private RabbitMQ for a test session: free ports on loopback, a folder of its own; it can be killed and started.

Debian's ``rabbitmq-server`` on PATH is a wrapper that insists on a user of its own; the scripts behind it do not, so
they are called.  The port mapper (epmd) is private as well, and ends with the server.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Final

from tests.harness.ports import steady_port

#: Names a server of your own for the tests; the engine's exchanges and queues are declared in it.
OVERRIDE: Final = "TEST_RABBITMQ_URL"
_PLACES: Final = (Path("/usr/lib/rabbitmq/bin"), Path("/opt/rabbitmq/sbin"), Path("/usr/local/sbin"))
_START_S: Final = 90.0
_METRICS: Final = "prometheus.tcp.ip = 127.0.0.1\nprometheus.tcp.port = {}\n"


class RabbitMissing(Exception):
    """No RabbitMQ to be had."""


def _scripts() -> Path:
    for place in _PLACES:
        if (place / "rabbitmq-server").exists():
            return place
    found = shutil.which("rabbitmq-server")
    if found is None:
        raise RabbitMissing("rabbitmq-server is not installed (apt install rabbitmq-server)")
    return Path(found).resolve().parent


class TestRabbit:
    """A server on ports that stay the same over restarts; what it was told to keep stays, too.

    Args:
        deployed: a folder with ``rabbitmq.conf`` and ``enabled_plugins`` to start it with; a second file has ports and
            addresses.
        user: with ``password``, its first user.
        counted: it shows its counters to Prometheus, at ``metrics_url``.
    """

    __test__ = False

    def __init__(
        self, deployed: Path | None = None, user: str = "guest", password: str = "guest", *, counted: bool = False
    ) -> None:
        self._scripts = _scripts()
        self._epmd_binary = shutil.which("epmd")
        if self._epmd_binary is None:
            raise RabbitMissing("epmd is not on PATH (it comes with Erlang)")
        self._folder = Path(tempfile.mkdtemp(prefix="te-rabbit-"))
        self.port, self._dist_port, self._epmd_port = steady_port(), steady_port(), steady_port()
        self.management_port, self.metrics_port = steady_port(), steady_port()
        self.metrics_url = f"http://127.0.0.1:{self.metrics_port}/metrics"
        self.url = f"amqp://{user}:{password}@127.0.0.1:{self.port}/"
        self._account = {"RABBITMQ_DEFAULT_USER": user, "RABBITMQ_DEFAULT_PASS": password}
        # Files are read in the order of their names, and the last word counts.
        (self._folder / "conf.d").mkdir()
        if deployed is None:
            (self._folder / "enabled_plugins").write_text("[rabbitmq_prometheus].\n" if counted else "[].\n")
            given = (
                f"listeners.tcp.1 = 127.0.0.1:{self.port}\nlog.file.level = warning\n"
                "disk_free_limit.absolute = 50MB\nvm_memory_high_watermark.absolute = 1GB\n"
                + (_METRICS.format(self.metrics_port) if counted else "")
            )
        else:
            shutil.copy(deployed / "enabled_plugins", self._folder)
            shutil.copy(deployed / "rabbitmq.conf", self._folder / "conf.d" / "20-deployed.conf")
            given = (
                f"listeners.tcp.default = 127.0.0.1:{self.port}\n"
                f"management.tcp.ip = 127.0.0.1\nmanagement.tcp.port = {self.management_port}\n"
                + _METRICS.format(self.metrics_port)
            )
        (self._folder / "conf.d" / "90-here.conf").write_text(given)
        self._process: subprocess.Popen[bytes] | None = None
        self._epmd: subprocess.Popen[bytes] | None = None

    def _environment(self) -> dict[str, str]:
        folder = self._folder
        return (
            {name: value for name, value in os.environ.items() if not name.startswith("RABBITMQ_")}
            | {
                "HOME": str(folder),
                "ERL_EPMD_PORT": str(self._epmd_port),
                "ERL_EPMD_ADDRESS": "127.0.0.1",
                "RABBITMQ_NODENAME": f"te{self.port}@localhost",
                "RABBITMQ_DIST_PORT": str(self._dist_port),
                "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
                "RABBITMQ_LOG_BASE": str(folder / "log"),
                "RABBITMQ_PID_FILE": str(folder / "pid"),
                "RABBITMQ_CONFIG_FILE": str(folder / "none"),
                "RABBITMQ_CONFIG_FILES": str(folder / "conf.d"),
                "RABBITMQ_CONF_ENV_FILE": str(folder / "none"),
                "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
                "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                    "-kernel inet_dist_use_interface {127,0,0,1} -setcookie private +S 2:2 +sbwt none"
                ),
            }
            | self._account
        )

    def start(self) -> None:
        """Start it; it takes connections when this returns."""
        environment = self._environment()
        if self._epmd is None:
            assert self._epmd_binary is not None
            self._epmd = subprocess.Popen([self._epmd_binary], env=environment)
        with (self._folder / "output").open("ab") as output:
            self._process = subprocess.Popen(
                [str(self._scripts / "rabbitmq-server")],
                env=environment, stdout=output, stderr=output, start_new_session=True, cwd=self._folder,
            )  # fmt: skip
        until = time.monotonic() + _START_S
        while time.monotonic() < until and self._process.poll() is None:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1) as asked:
                    asked.sendall(b"AMQP\x00\x00\x09\x01")
                    asked.settimeout(2)
                    if asked.recv(1):
                        return
            except OSError:
                time.sleep(0.1)
        said = (self._folder / "output").read_text(errors="replace")[-800:]
        self.remove()
        raise RabbitMissing(f"rabbitmq-server did not start: {said}")

    def control(self, *words: str) -> None:
        """Have ``rabbitmqctl`` do something."""
        subprocess.run(
            [str(self._scripts / "rabbitmqctl"), "--quiet", *words],
            env=self._environment() | {"RABBITMQ_CTL_ERL_ARGS": "-setcookie private"},
            check=True, capture_output=True, timeout=_START_S,
        )  # fmt: skip

    def kill(self) -> None:
        """End it at once, as a machine does that loses power."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it in order."""
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        for what in (number, signal.SIGKILL):
            try:
                os.killpg(process.pid, what)
            except ProcessLookupError:
                break
            try:
                process.wait(30)
                break
            except subprocess.TimeoutExpired:
                continue
        process.wait()
        # The group may have more processes than its leader.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)

    def remove(self) -> None:
        """End everything and delete the folder."""
        self.kill()
        if self._epmd is not None:
            self._epmd.kill()
            self._epmd.wait()
            self._epmd = None
        shutil.rmtree(self._folder, ignore_errors=True)
