"""SIGTERM beside a client who never finishes; under load: tests/stops."""

import asyncio
import signal
import socket
import time
from pathlib import Path

from tests.e2e.processes import funded, served


def test_a_client_who_never_finishes_does_not_hold_up_the_end(data_dir: Path, tmp_path: Path) -> None:
    config = tmp_path / "engine.yaml"
    config.write_text("server: {shutdown_timeout: 8s}\n")
    with (
        served(data_dir, "--config", str(config)) as (port, server),
        socket.create_connection(("127.0.0.1", port)) as slow,
    ):
        [token] = asyncio.run(funded(data_dir, 1))
        slow.sendall(
            b"POST /api/v1/orders HTTP/1.1\r\nhost: here\r\nauthorization: Bearer " + token.encode()
            + b"\r\ncontent-length: 1000\r\n\r\n{"
        )  # fmt: skip
        time.sleep(0.3)
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) == 0, (data_dir / "server.log").read_text()[-2000:]
    log = (data_dir / "server.log").read_text()
    assert '"drained":false' in log
    assert "Traceback" not in log
