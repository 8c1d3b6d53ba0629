"""Webhooks as operators and receivers meet them: registered over API and command line, sent by a role of its own."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.test_events import running
from tests.e2e.venue import Venue
from tests.harness.events import Ear, emptied
from tests.harness.receiver import Receiver
from trade_engine.bench.own_server import free_port
from trade_engine.messaging.topology import NOTIFICATIONS_QUEUE

KEY = "ab" * 32
LISTED = {"webhooks.private_networks": ["127.0.0.0/8"], "auth.encryption_key": KEY}


@pytest.fixture
async def ear(rabbit_url: str) -> AsyncIterator[Ear]:
    await emptied(rabbit_url, NOTIFICATIONS_QUEUE)
    opened = await Ear(rabbit_url).open()
    yield opened
    await opened.close()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    opened = await Receiver().start()
    yield opened
    await opened.stop()


class Operator:
    """Asks the admin API."""

    def __init__(self, venue: Venue) -> None:
        self._http = venue.http
        self._headers = {"Authorization": f"Bearer {venue.token('00000000-0000-7000-8000-0000000000ad', ('admin',))}"}

    async def __call__(self, method: str, path: str, status: int = 200, **body: Any) -> Any:
        answer = await self._http.request(method, f"/api/v1/admin{path}", headers=self._headers, json=body or None)
        assert answer.status_code == status, answer.text
        return answer.json().get("data", answer.json().get("error"))


def environment(database_url: str, ear: Ear, port: int) -> dict[str, str]:
    return os.environ | {
        "TRADE_ENGINE__DATABASE__URL": database_url,
        "TRADE_ENGINE__RABBITMQ__URL": ear.url,
        "TRADE_ENGINE__RABBITMQ__EXCHANGE_TRADE_EVENTS": ear.trade_events,
        "TRADE_ENGINE__RABBITMQ__EXCHANGE_ORDER_EVENTS": ear.order_events,
        "TRADE_ENGINE__AUTH__ENCRYPTION_KEY": KEY,
        "TRADE_ENGINE__WEBHOOKS__PRIVATE_NETWORKS": "[127.0.0.0/8]",
        "TRADE_ENGINE__WEBHOOKS__FIRST_PAUSE_S": "0.2",
        "TRADE_ENGINE__WEBHOOKS__LONGEST_PAUSE_S": "1",
        "TRADE_ENGINE__WEBHOOKS__TIMEOUT_S": "1",
        "TRADE_ENGINE__WEBHOOKS__PORT": str(port),
    }


async def trade(venue: Venue, symbol: str, count: int) -> None:
    base = symbol.partition("/")[0]
    seller, buyer = await venue.trader(**{base: "1000"}), await venue.trader(USDT="100000")
    for _ in range(count):
        await seller.order(symbol, "SELL", "1", "100.00")
        await buyer.order(symbol, "BUY", "1", "100.00")


async def test_a_receiver_that_fails_and_a_sender_that_is_killed_lose_nothing(
    database_url: str, tmp_path: Path, ear: Ear, receiver: Receiver
) -> None:
    """The engine here, the role ``notify`` as a process that is killed, a receiver that fails meanwhile."""
    port = free_port()
    command = [sys.executable, "-m", "trade_engine.cli", "serve", "--role", "notify", "--data-dir", str(tmp_path)]
    with (tmp_path / "notify.log").open("wb") as log:

        def start() -> "subprocess.Popen[bytes]":
            return subprocess.Popen(command, env=environment(database_url, ear, port), stdout=log, stderr=log)

        async with running(database_url, tmp_path, ear, **LISTED) as venue:
            operator, symbols = Operator(venue), [venue.market(), venue.market()]
            made = await operator(
                "POST", "/webhooks", 201, url=receiver.url, name="drill", reason="a drill", symbols=symbols
            )
            receiver.status = 503
            process = start()
            try:
                await asyncio.gather(*(trade(venue, symbol, 5) for symbol in symbols))
                wanted = dict.fromkeys(symbols, 5 * 6)
                await until(lambda: receiver.requests >= 4, tmp_path)
                process.kill()
                process.wait()
                process = start()
                # The one that was killed is taken over once its lease is over.
                await asyncio.gather(*(trade(venue, symbol, 1) for symbol in symbols))
                receiver.status = 200
                await until(lambda: all(len(told(receiver, s)) >= wanted[s] + 6 for s in symbols), tmp_path)
                async with httpx.AsyncClient() as http:
                    base = f"http://127.0.0.1:{port}"
                    assert (await http.get(f"{base}/health/ready")).json()["webhooks"] == "ok"
                    assert "webhooks_delivered_total" in (await http.get(f"{base}/metrics")).text
            finally:
                process.terminate()
                process.wait(30)
            assert process.returncode == 0
            for symbol in symbols:
                heard = [h.message_id for h in ear.unique() if h.body["symbol"] == symbol]
                assert sorted(told(receiver, symbol)) == sorted(heard)
                assert told(receiver, symbol) == heard
            assert all(taken.is_signed_with(made["secret"]) for taken in receiver.taken)


def told(receiver: Receiver, symbol: str) -> list[str]:
    """The ids of a market that were taken, each once, in the order of their first coming."""
    return list(dict.fromkeys(taken.message_id for taken in receiver.taken if taken.event["symbol"] == symbol))


async def until(condition: Any, folder: Path) -> None:
    end_s = time.monotonic() + 90
    while not condition():
        assert time.monotonic() < end_s, (folder / "notify.log").read_text()[-3_000:]
        await asyncio.sleep(0.05)


async def test_what_operators_may_do_and_what_is_noted(database_url: str, tmp_path: Path, ear: Ear) -> None:
    async with running(database_url, tmp_path, ear, **LISTED) as venue:
        operator = Operator(venue)
        terms = {"url": "https://hooks.example.com/x", "name": "office", "reason": "tests"}
        for field, value in {
            "url": "http://93.184.216.34/", "name": "", "event_types": ["Trade"], "symbols": ["BTC-USDT"],
        }.items():  # fmt: skip
            refused = await operator("POST", "/webhooks", 400, **terms | {field: value})
            assert (refused["code"], refused["details"]["field"]) == ("INVALID_WEBHOOK_TERMS", field)
        for inner in ("https://127.1.1.1/", "https://169.254.169.254/latest", "https://[::1]/"):
            await operator("POST", "/webhooks", 201 if "127.1" in inner else 400, **terms | {"url": inner})
        made = await operator("POST", "/webhooks", 201, **terms, event_types=["trade.executed"])
        endpoint_id, secret = made["endpoint"]["endpoint_id"], made["secret"]
        assert secret.startswith("whsec_")
        listed = await operator("GET", "/webhooks")
        assert [each["endpoint_id"] for each in listed][1:] == [endpoint_id]
        assert secret not in json.dumps(listed)
        stored = await venue.running.pool.fetchval(
            "SELECT secret FROM webhook_endpoints WHERE endpoint_id = $1", endpoint_id
        )
        assert secret.encode() not in stored
        assert (await operator("POST", f"/webhooks/{endpoint_id}/pause", reason="why"))["paused_why"] == "why"
        assert (await operator("POST", f"/webhooks/{endpoint_id}/resume", reason="why"))["paused_at"] is None
        rotated = await operator("POST", f"/webhooks/{endpoint_id}/rotate", reason="why")
        assert rotated["secret"] != secret
        assert rotated["endpoint"]["previous_secret_until"]
        await operator("POST", f"/webhooks/{endpoint_id}/rotate", 400, reason="why", overlap_hours=999)
        assert (await operator("POST", f"/webhooks/{endpoint_id}/replay", 404, reason="why"))["code"]
        nobody = "whe_" + "0" * 32
        assert (await operator("POST", f"/webhooks/{nobody}/pause", 404, reason="x"))["code"] == "WEBHOOK_NOT_FOUND"
        assert (await operator("POST", f"/webhooks/{nobody}/pause", 400, reason=""))["code"] == "INVALID_REASON"
        assert await operator("GET", f"/webhooks/{endpoint_id}/dead") == []
        await operator("DELETE", f"/webhooks/{endpoint_id}?reason=over")
        assert (await operator("GET", f"/webhooks/{endpoint_id}/dead", 404))["code"] == "WEBHOOK_NOT_FOUND"
        done = [entry["action"] for entry in await operator("GET", "/audit") if entry["outcome"] == "asked for"]
        assert [each.removeprefix("webhook.") for each in reversed(done)] == [
            "add", "add", "pause", "resume", "rotate", "rotate", "replay", "pause", "remove",
        ]  # fmt: skip


async def command(database_url: str, folder: Path, ear: Ear, *words: str) -> Any:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "trade_engine.cli", "webhooks", *words, "--data-dir", str(folder),
        env=environment(database_url, ear, 0), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(), 60)
    return json.loads(out) if not process.returncode and "--json" in words else (out + err).decode()


async def test_the_command_line_does_the_same(database_url: str, tmp_path: Path, rabbit_url: str) -> None:
    await emptied(rabbit_url, NOTIFICATIONS_QUEUE)
    ear = Ear(rabbit_url)
    words = ("add", "https://hooks.example.com/", "--name", "office", "--reason", "tests")
    made = await command(database_url, tmp_path, ear, *words, "--event", "trade.executed", "--json")
    endpoint_id = made["endpoint_id"]
    assert made["secret"].startswith("whsec_")
    assert "private" in await command(database_url, tmp_path, ear, "add", "https://10.0.0.1/", *words[2:])
    again = await command(database_url, tmp_path, ear, "rotate", endpoint_id, "--reason", "why", "--json")
    assert again["secret"] != made["secret"]
    await command(database_url, tmp_path, ear, "pause", endpoint_id, "--reason", "away")
    assert "paused: away" in await command(database_url, tmp_path, ear, "list")
    resumed = await command(database_url, tmp_path, ear, "resume", endpoint_id, "--reason", "back", "--json")
    assert resumed["paused_at"] is None
    assert (await command(database_url, tmp_path, ear, "dead", endpoint_id, "--json")) == {"dead": []}
    assert "DEAD_LETTER_NOT_FOUND" in await command(
        database_url, tmp_path, ear, "replay", endpoint_id, "--reason", "why"
    )
    await command(database_url, tmp_path, ear, "remove", endpoint_id, "--reason", "over")
    assert (await command(database_url, tmp_path, ear, "list", "--json")) == {"webhooks": []}
