"""Every server of ``deploy/`` starts with the very file; an engine that is told what Compose tells it trades on it."""

import asyncio
import json
import re
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import asyncpg
import httpx
import pytest
import yaml
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, ResponseError
from redis.retry import Retry

from tests.e2e.engines import SECRET, EngineProcess
from tests.harness.installation import DEPLOY, PASSWORD, USER, Deployed
from tests.harness.rabbitmq import TestRabbit
from tests.unit.deploy.test_monitoring import rules
from trade_engine.bench.own_server import free_port
from trade_engine.storage.embedded.binaries import find_client_program

BOUND_S: Final = 60.0


class Ground:
    """Where everything that an engine stands on is."""

    def __init__(self, deployed: Deployed) -> None:
        self.rabbit: TestRabbit = deployed.rabbit()
        self.postgres = deployed.postgres()
        self.pgbouncer = deployed.pgbouncer(self.postgres)
        self.redis = deployed.redis()

    def of_compose(self) -> dict[str, str]:
        """The engine's environment in Compose, with this machine's places, and passwords."""
        places = {
            "pgbouncer:6432": self.pgbouncer, "postgres:5432": self.postgres, "redis:6379": self.redis,
            "rabbitmq:5672": self.rabbit.port,
        }  # fmt: skip
        given = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["trade-engine"]["environment"]
        told = {}
        for name, value in given.items():
            text = re.sub(r"\$\{\w+PASSWORD:\?[^}]*\}", PASSWORD, str(value))
            text = re.sub(r"\$\{JWT_SECRET:\?[^}]*\}", SECRET, text)
            text = re.sub(r"\$\{ENCRYPTION_KEY:\?[^}]*\}", "5e" * 32, text)
            text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)
            for place, port in places.items():
                text = text.replace(f"@{place}", f"@127.0.0.1:{port}")
            told[name] = text
        return told | {"TRADE_ENGINE__MONITORING__JAEGER_ENABLED": "false"}


@pytest.fixture(scope="module")
def deployed() -> Iterator[Deployed]:
    servers = Deployed()
    try:
        yield servers
    finally:
        servers.remove()


@pytest.fixture(scope="module")
def ground(deployed: Deployed) -> Ground:
    return Ground(deployed)


@pytest.fixture(scope="module")
def engine(ground: Ground, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineProcess]:
    """Compose's service ``migrate``, then its service ``trade-engine``."""
    running = EngineProcess(tmp_path_factory.mktemp("engine"), None)
    running.environment |= ground.of_compose()
    done = running.run("migrate", "up")
    assert done.returncode == 0, done.stdout + done.stderr
    running.start()
    yield running
    running.stop()


def answered(url: str, **more: Any) -> httpx.Response:
    """What a server says, once it does."""
    until = time.monotonic() + BOUND_S
    while True:
        try:
            answer = httpx.get(url, **more)
            if answer.status_code == 200:
                return answer
        except httpx.TransportError:
            pass
        assert time.monotonic() < until, url
        time.sleep(0.05)


async def test_an_engine_trades_on_all_of_it(ground: Ground, engine: EngineProcess) -> None:
    await engine.ready()
    user = str(uuid.uuid4())
    funded = engine.run("deposit", user, "USDT", "1000")
    assert funded.returncode == 0, funded.stderr
    placed = await engine.order(user)
    assert placed is not None
    assert placed.status_code == 201, placed.text
    # Both are asked beside the engine's start.
    await engine.until(lambda: all_well(engine), "something that it stands on is not well")
    name, password = USER, PASSWORD
    seen = answered(
        f"http://127.0.0.1:{ground.rabbit.management_port}/api/exchanges/%2F/order.events", auth=(name, password)
    ).json()
    assert (seen["type"], seen["durable"]) == ("topic", True)


async def verified(engine: EngineProcess, *words: str, **told: str) -> "subprocess.CompletedProcess[str]":
    """`scripts/verify-infrastructure` with the options of the engine."""
    command = [sys.executable, str(DEPLOY.parent / "scripts" / "verify_infrastructure.py"), *words]
    options = {"TRADE_ENGINE__SERVER__HTTP_PORT": str(engine.port)} | told
    return await asyncio.to_thread(
        subprocess.run, command, env=engine.environment | options, capture_output=True, text=True, timeout=BOUND_S,
        check=False,
    )  # fmt: skip


async def test_the_script_finds_all_of_it_well_and_says_what_is_not(engine: EngineProcess) -> None:
    await engine.ready()
    await engine.until(lambda: all_well(engine), "something that it stands on is not well")
    done = await verified(engine, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    found = {line["what"]: line["well"] for line in json.loads(done.stdout)}
    unused = {"wallet service", "Prometheus", "Alertmanager", "Grafana"}
    assert found == {name: None if name in unused else True for name in found}
    assert len(found) == 10

    nobody = f"http://127.0.0.1:{free_port()}"
    done = await verified(
        engine, "--json", "--prometheus", nobody,
        TRADE_ENGINE__REDIS__URL=engine.environment["TRADE_ENGINE__REDIS__URL"].replace(PASSWORD, "wrong"),
    )  # fmt: skip
    assert done.returncode == 1
    unwell = {line["what"]: line["said"] for line in json.loads(done.stdout) if line["well"] is False}
    assert unwell.keys() == {"Redis", "Prometheus"}
    assert "password" in unwell["Redis"]


async def all_well(engine: EngineProcess) -> bool:
    found = await engine.readiness()
    return {found.get(what) for what in ("database", "engine", "wallet", "redis", "rabbitmq")} == {"ok"}


async def test_postgres_takes_its_file(ground: Ground) -> None:
    asked = await asyncpg.connect(f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{ground.postgres}/postgres")
    try:
        wrong = await asked.fetch("SELECT name, error FROM pg_file_settings WHERE error IS NOT NULL")
        # These two cannot be changed while it runs, and the command line has other values.
        assert {row["name"] for row in wrong} <= {"port", "listen_addresses"}, wrong
        for line in (DEPLOY / "postgres" / "postgresql.conf").read_text().splitlines():
            if found := re.match(r"(\w+) = ", line):
                source = await asked.fetchval("SELECT source FROM pg_settings WHERE lower(name) = $1", found[1])
                assert source in {"configuration file", "command line", "client"}, line
        await asked.execute("CREATE EXTENSION pg_stat_statements")
        assert await asked.fetchval("SELECT count(*) FROM pg_stat_statements") > 0
    finally:
        await asked.close()


async def test_pgbouncer_takes_its_file(ground: Ground, engine: EngineProcess) -> None:
    """As ``SHOW CONFIG`` says, which the engine's own user may ask; a wrong password is told from a right one."""
    await engine.ready()
    place = f"127.0.0.1:{ground.pgbouncer}"
    # Its own database speaks a protocol that only psql still does.
    program = find_client_program("psql", 15)
    command = [str(program), f"postgresql://{USER}:{PASSWORD}@{place}/pgbouncer", "-At", "-c", "SHOW CONFIG"]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=BOUND_S, check=True)
    said = dict(line.split("|")[:2] for line in done.stdout.splitlines())
    assert (said["pool_mode"], said["max_client_conn"], said["default_pool_size"]) == ("transaction", "1000", "100")
    with pytest.raises(asyncpg.PostgresError):
        await asyncpg.connect(f"postgresql://{USER}:wrong@{place}/trade_engine")


def test_redis_takes_its_file(ground: Ground) -> None:
    with Redis(port=ground.redis, password=PASSWORD, decode_responses=True) as asked:
        assert asked.config_get("maxmemory*")["maxmemory-policy"] == "volatile-ttl"
        assert asked.config_get("save") == {"save": ""}
        with pytest.raises(ResponseError, match="unknown command"):
            asked.flushall()
    with Redis(port=ground.redis, retry=Retry(NoBackoff(), 0)) as stranger, pytest.raises(AuthenticationError):
        stranger.ping()


def test_sentinel_finds_the_redis_of_the_file(deployed: Deployed, ground: Ground) -> None:
    port = deployed.sentinel(ground.redis)
    with Redis(port=port, decode_responses=True) as asked:
        known = asked.sentinel_master("trade-engine")
        assert (known["quorum"], known["down-after-milliseconds"]) == (2, 5000)
        until = time.monotonic() + BOUND_S
        while "master_link_status" not in known and known["flags"] != "master":
            assert time.monotonic() < until, known
            known = asked.sentinel_master("trade-engine")
        assert asked.sentinel_get_master_addr_by_name("trade-engine") == ("127.0.0.1", ground.redis)


def test_rabbitmq_takes_its_files(ground: Ground) -> None:
    """Both of its plugins answer, and the metric that an alert asks for is there."""
    name, password = USER, PASSWORD
    seen = answered(f"http://127.0.0.1:{ground.rabbit.management_port}/api/nodes", auth=(name, password)).json()
    assert (seen[0]["disk_free_limit"], seen[0]["mem_limit"] > 0) == (2_000_000_000, True)
    told = answered(f"http://127.0.0.1:{ground.rabbit.metrics_port}/metrics").text
    assert "rabbitmq_global_messages_dead_lettered_maxlen_total" in told


def test_prometheus_takes_its_files(deployed: Deployed) -> None:
    url = f"http://127.0.0.1:{deployed.prometheus()}"
    answered(f"{url}/-/ready")
    groups = answered(f"{url}/api/v1/rules").json()["data"]["groups"]
    assert {rule["name"] for group in groups for rule in group["rules"]} == {rule["alert"] for rule in rules()}
    asked = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    taken = yaml.safe_load(answered(f"{url}/api/v1/status/config").json()["data"]["yaml"])
    assert taken["global"]["scrape_interval"] == "15s"
    assert [job["job_name"] for job in taken["scrape_configs"]] == [job["job_name"] for job in asked["scrape_configs"]]


def test_alertmanager_takes_its_file(deployed: Deployed) -> None:
    url = f"http://127.0.0.1:{deployed.alertmanager()}"
    answered(f"{url}/-/ready")
    receivers = {found["name"] for found in answered(f"{url}/api/v2/receivers").json()}
    assert receivers == {"pager", "tickets"}


def test_a_file_that_no_longer_says_what_is_exchanged_is_told(deployed: Deployed, tmp_path: Path) -> None:
    with pytest.raises(Exception, match="says nothing of 'port 1'"):
        deployed.file(tmp_path, "redis/redis.conf", ("port 1", "port 2"))
