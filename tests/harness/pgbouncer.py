"""A private PgBouncer in transaction mode before the tests' PostgreSQL: few connections, so that clients must share."""

import contextlib
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlsplit

from trade_engine.storage.embedded.account import choose_account

#: Connections to the server, of each database: far fewer than clients.
POOL: Final = 3


class PgBouncerMissing(Exception):
    """No PgBouncer to be had."""


class TestPgBouncer:
    """A pooler on a free port, for every database of one server.

    Args:
        server_url: of that server, as any of its databases has it.
    """

    __test__ = False

    def __init__(self, server_url: str) -> None:
        binary = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin")
        if binary is None:
            raise PgBouncerMissing("pgbouncer is not there: install the package pgbouncer")
        self._binary = binary
        self._server = urlsplit(server_url)
        self._folder = Path(tempfile.mkdtemp(prefix="te-pgbouncer-"))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; it takes connections when this returns."""
        parts, options = self._server, parse_qs(self._server.query)
        host = options.get("host", [parts.hostname or "127.0.0.1"])[0]
        port = options.get("port", [str(parts.port or 5432)])[0]
        password = f" password={parts.password}" if parts.password else ""
        file = self._folder / "pgbouncer.ini"
        file.write_text(
            f"[databases]\n* = host={host} port={port} user={parts.username}{password}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {self.port}\nunix_socket_dir =\nauth_type = any\n"
            f"pool_mode = transaction\ndefault_pool_size = {POOL}\nmax_client_conn = 1000\n"
            f"logfile = {self._folder / 'pgbouncer.log'}\nserver_lifetime = 600\n"
        )
        # As PostgreSQL does not, it does not run as root.
        account = choose_account()
        if account.switched:
            for path in (self._folder, file):
                shutil.chown(path, account.uid, account.gid)
        log = (self._folder / "output.log").open("wb")
        with log:
            self._process = account.spawn([self._binary, str(file)], {}, log)
        until = time.monotonic() + 20
        while time.monotonic() < until and self._process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return
            time.sleep(0.02)
        output = (self._folder / "output.log").read_text(errors="replace")
        self.remove()
        raise PgBouncerMissing(f"pgbouncer did not start: {output[-500:]}")

    def is_before(self, database_url: str) -> bool:
        """Whether a database is one of the server's, directly."""
        parts = urlsplit(database_url)
        return bool(parts.netloc) and (parts.netloc, parts.query) == (self._server.netloc, self._server.query)

    def url(self, database_url: str) -> str:
        """Where a database of the server is, through the pooler."""
        parts = urlsplit(database_url)
        return f"postgresql://{parts.username}@127.0.0.1:{self.port}{parts.path}"

    def remove(self) -> None:
        """End it and delete its folder."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        shutil.rmtree(self._folder, ignore_errors=True)
