"""The bystander's benchmark: every attack does what its name says and ends in time; figures are of the orders sent."""

import asyncio
import time
from pathlib import Path

import pytest

from trade_engine.bench.attacks import STRANGERS
from trade_engine.bench.bystander import KINDS, RATE, Waits, measure_bystander
from trade_engine.bench.customers import CUSTOMERS, TOKENS

EXPECTED = {
    "websocket pings": b"\x89\x80",
    "empty messages": b"\x81\x80",
    "continuation frames": b"\x00\x81",
    "pipelined requests": b"GET /api/v1/time HTTP/1.1\r\n",
    "unknown paths": b"GET /nowhere/",
    "readiness flood": b"GET /health/ready ",
    "bad logins": b"Authorization: Bearer no.such.token",
    "unknown API keys": b"X-API-Key: ",
    "idle connections": b"POST /api/v1/orders HTTP/1.1\r\nHost: x\r\n",
}


@pytest.mark.parametrize("kind", STRANGERS)
async def test_a_strangers_attack_sends_what_its_name_says_and_ends(kind: str) -> None:
    heard = bytearray()
    opened = 0

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal opened
        opened += 1
        while chunk := await reader.read(65_536):
            heard.extend(chunk[:2_000])
        writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, asyncio.timeout(60):
        # On a busy machine half a second may be over before anything is sent.
        for seconds in (0.5, 2.0, 8.0):
            await STRANGERS[kind](port, port, "127.0.3.9", time.monotonic() + seconds)
            if EXPECTED[kind] in bytes(heard):
                break
        assert EXPECTED[kind] in bytes(heard)
        assert opened >= 1
        await asyncio.sleep(0.05)


def test_every_attack_is_measured() -> None:
    assert set(KINDS) == STRANGERS.keys() | CUSTOMERS.keys()
    assert EXPECTED.keys() == STRANGERS.keys()


@pytest.mark.parametrize("kind", CUSTOMERS)
async def test_a_customers_attack_ends_though_nobody_answers(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKENS, "one,two")
    async with asyncio.timeout(60):
        await CUSTOMERS[kind](1, 1, "", time.monotonic() + 0.3)


def test_quantiles_are_of_what_was_answered() -> None:
    waits = Waits([float(n) for n in range(1, 101)], refused=3)
    assert (waits.quantile(0.5), waits.quantile(0.99), waits.quantile(1.0)) == (51.0, 100.0, 100.0)
    assert Waits().quantile(0.99) == 0.0


async def test_figures_count_every_order(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    figures = await measure_bystander(tmp_path, 2.0, 100, ["unknown API keys", "history queries"])
    for figure in figures.values():
        assert figure["orders"] == 2 * RATE
        assert figure["refused"] < figure["orders"]
        assert figure["p50_ms"] <= figure["p99_ms"] <= figure["max_ms"]
        assert figure["quiet_p99_ms"] > 0
