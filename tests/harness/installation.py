"""What ``deploy/`` sets up beside an engine, each server started with the very file, on free ports of loopback.

What differs from the file is what a machine decides: ports, addresses, folders, passwords.
"""

import asyncio
import contextlib
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import asyncpg

from tests.harness.postgres import run_apart
from tests.harness.rabbitmq import TestRabbit
from tests.harness.tools import tool
from trade_engine.bench.own_server import free_port
from trade_engine.storage.embedded import find_binaries
from trade_engine.storage.embedded.account import choose_account

DEPLOY: Final = Path(__file__).parents[2] / "deploy"
USER: Final = "trade_engine"
PASSWORD: Final = "longEnoughAndOnlyForTests"
#: Longer than any of them takes to start on a busy machine.
START_S: Final = 60.0


class NotStarted(Exception):
    """A server did not start with the file; says what it printed."""


def exchanged(text: str, *pairs: tuple[str, str]) -> str:
    """The text with some places exchanged, each of which must be there."""
    for old, new in pairs:
        if old not in text:
            raise NotStarted(f"the file says nothing of {old!r} any more")
        text = text.replace(old, new)
    return text


async def _make_database(port: int) -> None:
    """As the image's entry point does with ``POSTGRES_DB``."""
    until = time.monotonic() + START_S
    while True:
        try:
            connection = await asyncpg.connect(f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{port}/postgres")
            break
        except asyncpg.CannotConnectNowError:
            if time.monotonic() > until:
                raise
            await asyncio.sleep(0.05)
    try:
        await connection.execute("CREATE DATABASE trade_engine")
    finally:
        await connection.close()


class Deployed:
    """Servers of the files in ``deploy/``; whoever asks for one starts it, ``remove`` ends all of them."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="te-deployed-"))
        self.folder.chmod(0o755)
        self._account = choose_account()
        self._processes: list[subprocess.Popen[bytes]] = []
        self._rabbit: TestRabbit | None = None

    def remove(self) -> None:
        """End all and delete their files."""
        for process in reversed(self._processes):
            process.terminate()
        for process in self._processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self._rabbit is not None:
            self._rabbit.remove()
        shutil.rmtree(self.folder, ignore_errors=True)

    def said(self, name: str) -> str:
        """The end of what a server printed."""
        return (self.folder / f"{name}.log").read_text(errors="replace")[-2000:]

    def spawn(self, name: str, command: Sequence[str], port: int) -> int:
        """Start a server as who does not run as root; the port, once it takes connections.

        Raises:
            NotStarted: it ended, or takes none.
        """
        with (self.folder / f"{name}.log").open("wb") as output:
            process = self._account.spawn(list(command), {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}, output)
        self._processes.append(process)
        until = time.monotonic() + START_S
        while time.monotonic() < until and process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                return port
            time.sleep(0.02)
        raise NotStarted(f"{name}: {self.said(name)}")

    def home(self, name: str) -> Path:
        """A folder of a server's own."""
        place = self.folder / name
        self._account.own_folder(place)
        return place

    def file(self, folder: Path, source: str, *pairs: tuple[str, str]) -> Path:
        """A copy of a file of ``deploy/`` that a server can read, with places exchanged."""
        place = folder / Path(source).name
        place.write_text(exchanged((DEPLOY / source).read_text(), *pairs))
        if self._account.switched:
            shutil.chown(place, self._account.uid, self._account.gid)
        return place

    # ---- the servers

    def postgres(self) -> int:
        """PostgreSQL with ``postgres/postgresql.conf``, and the database that Compose makes."""
        home, port = self.home("postgres"), free_port()
        binaries = find_binaries()
        password = home / "password"
        password.write_text(PASSWORD)
        password.chmod(0o644)
        made = self._account.run(
            [
                str(binaries.folder / "initdb"), "-D", str(home / "cluster"), "--username", USER, "--no-sync",
                "--auth", "scram-sha-256", "--pwfile", str(password), "--encoding", "UTF8", "--locale", "C",
            ],
            {},
        )  # fmt: skip
        if made.returncode:
            raise NotStarted(made.stdout)
        conf = self.file(home, "postgres/postgresql.conf")
        here = {"port": port, "listen_addresses": "127.0.0.1", "unix_socket_directories": home}
        options = [word for name, value in here.items() for word in ("-c", f"{name}={value}")]
        command = [str(binaries.folder / "postgres"), "-D", str(home / "cluster"), "-c", f"config_file={conf}"]
        self.spawn("postgres", [*command, *options], port)
        run_apart(_make_database(port))
        return port

    def pgbouncer(self, postgres_port: int) -> int:
        """PgBouncer with ``pgbouncer/pgbouncer.ini`` before a PostgreSQL."""
        home, port = self.home("pgbouncer"), free_port()
        program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin") or tool("pgbouncer")
        users = home / "userlist.txt"
        users.write_text(f'"{USER}" "{PASSWORD}"\n')
        if self._account.switched:
            shutil.chown(users, self._account.uid, self._account.gid)
        ini = self.file(
            home, "pgbouncer/pgbouncer.ini",
            ("host=postgres port=5432", f"host=127.0.0.1 port={postgres_port}"),
            ("listen_addr = 0.0.0.0", "listen_addr = 127.0.0.1"),
            ("listen_port = 6432", f"listen_port = {port}"),
            ("/run/trade-engine-pgbouncer/userlist.txt", str(users)),
        )  # fmt: skip
        return self.spawn("pgbouncer", [program, str(ini)], port)

    def redis(self) -> int:
        """Redis with ``redis/redis.conf`` and a password."""
        home, port = self.home("redis"), free_port()
        conf = self.file(home, "redis/redis.conf", ("bind * -::*", "bind 127.0.0.1"), ("port 6379", f"port {port}"))
        with conf.open("a") as file:
            file.write(f"\nrequirepass {PASSWORD}\n")
        return self.spawn("redis", [tool("redis-server"), str(conf), "--dir", str(home)], port)

    def sentinel(self, redis_port: int) -> int:
        """A Sentinel with ``redis/sentinel.conf`` that watches a Redis."""
        home, port = self.home("sentinel"), free_port()
        conf = self.file(
            home, "redis/sentinel.conf", ("port 26379", f"port {port}\nbind 127.0.0.1"),
            ("trade-engine redis 6379", f"trade-engine 127.0.0.1 {redis_port}"),
        )  # fmt: skip
        with conf.open("a") as file:
            file.write(f"\nsentinel auth-pass trade-engine {PASSWORD}\n")
        return self.spawn("sentinel", [tool("redis-server"), str(conf), "--sentinel"], port)

    def rabbit(self) -> TestRabbit:
        """RabbitMQ with ``rabbitmq/rabbitmq.conf`` and its plugins."""
        self._rabbit = TestRabbit(DEPLOY / "rabbitmq", USER, PASSWORD)
        self._rabbit.start()
        return self._rabbit

    def alertmanager(self, told: str | None = None) -> int:
        """Alertmanager with ``alertmanager/alertmanager.yml``, or with what was made of it."""
        home, port = self.home("alertmanager"), free_port()
        conf = self.file(home, "alertmanager/alertmanager.yml")
        if told is not None:
            conf.write_text(told)
        program = shutil.which("prometheus-alertmanager") or tool("alertmanager")
        command = [
            program, f"--config.file={conf}", f"--storage.path={home}", f"--web.listen-address=127.0.0.1:{port}",
            "--cluster.listen-address=",
        ]  # fmt: skip
        return self.spawn("alertmanager", command, port)

    def prometheus(self, folder: Path | None = None) -> int:
        """Prometheus with ``prometheus/``, or a folder made of it."""
        home, port = self.home("prometheus"), free_port()
        shutil.copytree(DEPLOY / "prometheus" if folder is None else folder, home / "conf")
        (home / "conf").chmod(0o755)
        self._account.own_folder(home / "tsdb")
        command = [
            tool("prometheus"), f"--config.file={home / 'conf' / 'prometheus.yml'}",
            f"--storage.tsdb.path={home / 'tsdb'}", f"--web.listen-address=127.0.0.1:{port}",
        ]  # fmt: skip
        return self.spawn("prometheus", command, port)
