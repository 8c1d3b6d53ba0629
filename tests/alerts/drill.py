"""Five faults of a real engine, and who hears of them: Prometheus, Alertmanager, and its receivers.

Engine, wallet service, PostgreSQL, RabbitMQ, Prometheus and Alertmanager are real, on loopback.  Rules, scrapes and
routes are the deployed ones, made faster.
"""

import asyncio
import contextlib
import json
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import asyncpg
import httpx
import msgspec

from tests.alerts.faster import faster_alertmanager, faster_prometheus
from tests.e2e.engines import EngineProcess
from tests.harness.installation import Deployed
from tests.harness.rabbitmq import TestRabbit
from tests.harness.wallet_service import wallet_service
from trade_engine.domain.scale import UNIT
from trade_engine.wallet.audit import PostgresLedger

#: Longer than any alert takes, made faster, on a machine that is busy.
BOUND_S: Final = 120.0
#: From now on the buyer of every trade is somebody else, who has reserved nothing.
_FALSIFY: Final = """
    CREATE FUNCTION falsify() RETURNS TRIGGER LANGUAGE plpgsql AS $$
    BEGIN NEW.buyer_user_id := gen_random_uuid(); RETURN NEW; END $$;
    CREATE TRIGGER falsified BEFORE INSERT ON trades FOR EACH ROW EXECUTE FUNCTION falsify()
"""
_HONEST: Final = "DROP TRIGGER falsified ON trades; DROP FUNCTION falsify"
#: A table that somebody left has the name of today's partition.
_IN_THE_WAY: Final = """
    DO $$ DECLARE name TEXT := to_char(now() AT TIME ZONE 'UTC', '"journal_y"YYYY"m"MM"d"DD');
    BEGIN EXECUTE format('DROP TABLE %I', name); EXECUTE format('CREATE TABLE %I ()', name); END $$
"""


def key_of(labels: dict[str, str]) -> str:
    """The name of an alert; where several processes can have it, with the job that has."""
    job = labels.get("job")
    return labels["alertname"] + (f" of {job}" if job is not None else "")


class Heard(msgspec.Struct):
    """What became of an alert: seconds from the fault to each who saw it."""

    fault: str
    alert: str
    prometheus_s: float = 0.0
    alertmanager_s: float = 0.0
    state: str = ""
    #: Whom Alertmanager told; nobody, where another alert explains this one.
    told: str = ""


class Receiver:
    """Takes what Alertmanager sends."""

    def __init__(self) -> None:
        #: The receivers that were told, by alert.
        self.told: dict[str, set[str]] = {}
        self._server: asyncio.Server | None = None

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    async def start(self) -> None:
        """Listen on a free port."""
        self._server = await asyncio.start_server(self._take, "127.0.0.1", 0)

    async def stop(self) -> None:
        """Listen no longer."""
        if self._server is not None:
            self._server.close()

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            body = json.loads(await reader.readexactly(int(head.partition("content-length:")[2].split("\r\n")[0])))
            for alert in body["alerts"]:
                self.told.setdefault(key_of(alert["labels"]), set()).add(body["receiver"])
            writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
            await writer.drain()
        writer.close()


class World:
    """The servers of a drill, and how each is broken."""

    def __init__(self, engine: EngineProcess, rabbit: TestRabbit, database: asyncpg.Connection) -> None:
        self.engine = engine
        self.rabbit = rabbit
        self.database = database
        self.receiver = Receiver()
        self.prometheus: httpx.AsyncClient
        self.alertmanager: httpx.AsyncClient
        self.users: tuple[str, str] = ("", "")
        #: Ends the wallet service.
        self.wallet = contextlib.AsyncExitStack()
        self._flow: asyncio.Task[None] | None = None

    # ---- load

    async def trade(self) -> None:
        """Two orders that meet, again and again; what is refused is refused."""
        buyer, seller = self.users
        while True:
            await self.engine.order(seller, "SELL")
            await self.engine.order(buyer, "BUY")
            await asyncio.sleep(0.05)

    def begin(self) -> None:
        """Trade from now on."""
        self._flow = asyncio.create_task(self.trade())

    async def end(self) -> None:
        """Trade no longer."""
        if self._flow is not None:
            self._flow.cancel()
            await asyncio.gather(self._flow, return_exceptions=True)

    # ---- who hears

    async def firing(self) -> set[str]:
        """Alerts that fire in Prometheus."""
        answer = (await self.prometheus.get("/api/v1/alerts")).json()
        return {
            key_of(found["labels"]) for found in answer["data"]["alerts"] if found["state"] == "firing"
        }  # fmt: skip

    async def known(self) -> dict[str, str]:
        """Alerts that Alertmanager has, and whether each is told of."""
        answer = (await self.alertmanager.get("/api/v2/alerts")).json()
        return {key_of(found["labels"]): str(found["status"]["state"]) for found in answer}

    async def heard(self, fault: str, alert: str, began_s: float) -> Heard:
        """Wait until an alert of a fault is in both, and is told of unless another explains it."""
        found = Heard(fault, alert)
        await self._until(self.firing, alert, f"Prometheus does not fire {alert}")
        found.prometheus_s = round(time.monotonic() - began_s, 1)
        await self._until(self.known, alert, f"Alertmanager has not {alert}")
        found.alertmanager_s = round(time.monotonic() - began_s, 1)
        end_s = time.monotonic() + BOUND_S
        while not found.state:
            state = (await self.known()).get(alert, "")
            told = self.receiver.told.get(alert)
            if told or state == "suppressed":
                found.state, found.told = state, ", ".join(sorted(told or ()))
            assert time.monotonic() < end_s, f"nobody is told of {alert}: {state}"
            await asyncio.sleep(0.05)
        return found

    async def _until(self, look: Callable[[], Awaitable[Any]], alert: str, what: str) -> None:
        end_s = time.monotonic() + BOUND_S
        while True:
            with contextlib.suppress(httpx.TransportError):
                if alert in await look():
                    return
            assert time.monotonic() < end_s, f"{what}; the engine: {await self.engine.readiness()}"
            await asyncio.sleep(0.05)

    # ---- faults

    async def default_partition_filled(self) -> None:
        """A day's rows have no partition: what is counted at the next start."""
        self.engine.stop()
        assert await self.database.fetchval("SELECT count(*) FROM journal_default"), "nothing was committed meanwhile"
        await self.engine.start().ready()

    async def dead_letter(self) -> None:
        """Trades are falsified on their way into the table, for as long as it takes one to be refused."""
        await self.database.execute(_FALSIFY)
        end_s = time.monotonic() + BOUND_S
        while not await self.database.fetchval("SELECT count(*) FROM settlement_instructions WHERE status = 'FAILED'"):
            assert time.monotonic() < end_s, "no trade was refused by the wallet"
            await asyncio.sleep(0.02)
        await self.database.execute(_HONEST)

    async def relay_stopped(self) -> None:
        """RabbitMQ is gone."""
        await asyncio.to_thread(self.rabbit.kill)

    async def wallet_away(self) -> None:
        """The wallet service is gone."""
        await self.wallet.aclose()

    async def engine_stopped(self) -> None:
        """The engine is killed."""
        self.engine.kill()


#: In this order: each fault, and the alerts that must fire.
FAULTS: Final = (
    ("default_partition_filled", ("DefaultPartitionNotEmpty",)),
    ("dead_letter", ("DeadLetters",)),
    ("relay_stopped", ("RabbitMQDown of trade-engine", "RelayLag")),
    ("wallet_away", ("WalletCircuitOpen of trade-engine", "ServiceDown of trade-engine-wallet")),
    ("engine_stopped", ("ServiceDown of trade-engine",)),
)


@contextlib.asynccontextmanager
async def world(engine_url: str, wallet_url: str, folder: Path, times: int) -> AsyncIterator[World]:
    """All servers, trading; nothing is broken yet."""
    async with contextlib.AsyncExitStack() as stack:
        deployed = Deployed()
        stack.callback(deployed.remove)
        rabbit = await asyncio.to_thread(deployed.rabbit)
        database = await asyncpg.connect(engine_url)
        stack.push_async_callback(database.close)
        await database.execute(_IN_THE_WAY)
        wallet = contextlib.AsyncExitStack()
        stack.push_async_callback(wallet.aclose)
        port = await wallet.enter_async_context(wallet_service(wallet_url))
        engine = EngineProcess(
            folder / "engine", engine_url, WALLET__MODE="http", WALLET__URL=f"http://127.0.0.1:{port}",
            WALLET__RETRIES="0", WALLET__RESERVE_TIMEOUT_MS="2000", RABBITMQ__URL=rabbit.url,
            RABBITMQ__CROSS_CHECK="false",
        )  # fmt: skip
        stack.callback(engine.stop)
        made = World(engine, rabbit, database)
        made.wallet = wallet
        await made.receiver.start()
        stack.push_async_callback(made.receiver.stop)
        made.users = await _funded(wallet_url)
        told = faster_alertmanager(times, made.receiver.port)
        alertmanager = await asyncio.to_thread(deployed.alertmanager, told)
        ports = {"trade-engine": engine.metrics_port, "trade-engine-wallet": port, "rabbitmq": rabbit.metrics_port}
        faster_prometheus(folder / "prometheus", times, ports, alertmanager)
        await engine.start().ready()
        prometheus = await asyncio.to_thread(deployed.prometheus, folder / "prometheus")
        for name, place in (("prometheus", prometheus), ("alertmanager", alertmanager)):
            client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{place}", timeout=10)
            setattr(made, name, await stack.enter_async_context(client))
        made.begin()
        stack.push_async_callback(made.end)
        yield made


async def _funded(wallet_url: str) -> tuple[str, str]:
    users = (str(uuid.uuid4()), str(uuid.uuid4()))
    async with asyncpg.create_pool(wallet_url, min_size=1, max_size=1) as pool:
        ledger = PostgresLedger(pool, reserve_timeout_s=60, timeout_s=60)
        for user, asset in zip(users, ("USDT", "BTC"), strict=True):
            assert (await ledger.deposit(user, asset, 1_000_000 * UNIT, str(uuid.uuid4()))).ok
    return users


async def drill(engine_url: str, wallet_url: str, folder: Path, times: int) -> list[Heard]:
    """Plant each fault and wait until its alerts are heard of."""
    heard: list[Heard] = []
    async with world(engine_url, wallet_url, folder, times) as running:
        quiet = time.monotonic() + 3
        while time.monotonic() < quiet:
            with contextlib.suppress(httpx.TransportError):
                assert not (early := await running.firing()), f"fires before anything is broken: {early}"
            await asyncio.sleep(0.25)
        for fault, alerts in FAULTS:
            began_s = time.monotonic()
            await getattr(running, fault)()
            heard += [await running.heard(fault, alert, began_s) for alert in alerts]
    return heard
