"""What keeps a measurement from its end is one line at the command line, and no click exception below it."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from trade_engine.bench.errors import BenchError
from trade_engine.bench.fanout import Subscribers, resident_mib
from trade_engine.bench.own_server import running_server
from trade_engine.cli.options import explained


def test_the_memory_of_a_process_that_is_gone_cannot_be_read() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    with pytest.raises(BenchError, match="/proc"):
        resident_mib(gone.pid)
    assert resident_mib(os.getpid()) > 1


async def test_subscribers_that_ended_say_so() -> None:
    pipe = asyncio.subprocess.PIPE
    readers = Subscribers(await asyncio.create_subprocess_exec(sys.executable, "-c", "", stdin=pipe, stdout=pipe))
    with pytest.raises(BenchError, match="ended"):
        await readers.ask(do="subscribe")
    await readers.end()


def test_a_server_that_does_not_come_up_is_one_line_with_its_log(tmp_path: Path) -> None:
    with (
        pytest.raises(click.ClickException, match="did not come up") as raised,
        explained(),
        running_server(tmp_path / "data", TRADE_ENGINE__MATCHING__QUEUE="none"),
    ):
        pytest.fail("it came up")
    assert "matching.queue" in str(raised.value)
