"""Ask everything that an engine stands on, and everything that watches it, whether it is as it must be: a line each.

What to ask follows from the engine's own options (file, environment), so that it is asked with the engine's own
addresses and passwords.  Nothing is changed; what is not configured is passed over.  Status 1: not all is well.

    scripts/verify-infrastructure --config engine.yaml --prometheus http://127.0.0.1:9091
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import aiormq
import httpx
import msgspec

from trade_engine.bootstrap.redis import redis_settings
from trade_engine.bootstrap.relay import make_topology
from trade_engine.cache.inspection import ClusterRefused, inspect
from trade_engine.cache.server import TROUBLE, RedisServer
from trade_engine.config import Config, ConfigError, load_config
from trade_engine.storage.durability import require_durable
from trade_engine.storage.errors import DATABASE_ERRORS, DurabilityError, SchemaError
from trade_engine.storage.migrate import load_migrations, require_current
from trade_engine.storage.reach import connect

ROOT: Final = Path(__file__).resolve().parent.parent
TIMEOUT_S: Final = 10.0
#: What a check may fail with: it is told in one line, and the others go on.
_WRONG: Final = (
    *DATABASE_ERRORS, *TROUBLE, aiormq.AMQPError, httpx.HTTPError, ClusterRefused, DurabilityError, SchemaError,
    LookupError, ValueError,
)  # fmt: skip


class Found(NamedTuple):
    """A line of the report; ``well`` is None where nothing was asked."""

    what: str
    well: bool | None
    said: str


class NotWell(ValueError):
    """Something answers and is not as it must be; says what."""


def require(right: bool, said: str) -> None:
    """Go on if it is so."""
    if not right:
        raise NotWell(said)


# ---- what the engine stands on


async def ask_postgres(url: str, *, pooled: bool) -> str:
    """Version, durability, schema."""
    connection = await connect(url, statement_cache_size=0 if pooled else 100)
    try:
        await require_durable(connection)
        require(not await connection.fetchval("SELECT pg_is_in_recovery()"), "it is a standby, which takes no writes")
        await require_current(connection, load_migrations())
        version = await connection.fetchval("SELECT current_setting('server_version')")
        free = await connection.fetchval(
            "SELECT current_setting('max_connections')::INT - count(*) FROM pg_stat_activity"
        )
        default = await connection.fetchval(
            "SELECT (SELECT count(*) FROM orders_default) + (SELECT count(*) FROM trades_default)"
            " + (SELECT count(*) FROM journal_default)"
        )
        require(default == 0, f"{default} rows have no partition of their own")
        return f"PostgreSQL {version}, durable, the schema is this version's, {free} connections free"
    finally:
        await connection.close()


async def ask_redis(config: Config) -> str:
    """It takes writes; what of it is not as advised."""
    settings = redis_settings(config)
    assert settings is not None
    server = RedisServer(msgspec.structs.replace(settings, timeout_ms=2_000))
    try:
        await server.reach()
        advice = [f"{each.setting} is {each.found}, advised: {each.advised}" for each in await inspect(server.redis)]
        return "; ".join(["it takes writes", *advice])
    finally:
        await server.aclose()


async def ask_rabbitmq(config: Config) -> str:
    """The exchanges and queues are there, or will be when an engine begins."""
    topology = make_topology(config)
    connection = await aiormq.connect(str(config.rabbitmq.url))
    try:
        found = []
        for queue in topology.queues():
            # A channel ends with a queue that is not there.
            channel = await connection.channel()
            try:
                told = await channel.queue_declare(queue.name, passive=True)
                found.append(f"{queue.name} {told.message_count} messages")
            except aiormq.ChannelNotFoundEntity:
                found.append(f"{queue.name} is not declared yet")
        return ", ".join(found)
    finally:
        await connection.close()


async def get(http: httpx.AsyncClient, url: str) -> httpx.Response:
    """A page that must be there."""
    answer = await http.get(url)
    require(answer.status_code == 200, f"{url} answers {answer.status_code}: {answer.text[:200]}")
    return answer


async def ask_wallet(http: httpx.AsyncClient, config: Config) -> str:
    """The wallet service is ready."""
    return (await get(http, f"{config.wallet.url}/health/ready")).text[:200]


# ---- the engine


async def ask_engine(http: httpx.AsyncClient, base: str) -> str:
    """It takes orders, and everything that it names is well."""
    said = (await get(http, f"{base}/health/ready")).json()
    unwell = {name: state for name, state in said.items() if name != "status" and state not in ("ok", "not used")}
    require(not unwell, f"not well: {unwell}")
    return ", ".join(f"{name} {state}" for name, state in said.items())


async def ask_metrics(http: httpx.AsyncClient, base: str) -> str:
    """It can be scraped."""
    lines = (await get(http, f"{base}/metrics")).text.splitlines()
    names = {line.split()[2] for line in lines if line.startswith("# TYPE")}
    require("orders_placed_total" in names or "engine_up" in names, "these are another program's metrics")
    return f"{len(names)} metrics"


# ---- what watches it


def panels() -> list[tuple[str, str]]:
    """Every query of the dashboards, and where it is."""
    files = sorted((ROOT / "deploy" / "grafana" / "dashboards").glob("*.json"))
    return [
        (f"{file.stem}: {panel['title']}", target["expr"].replace("$__rate_interval", "1m"))
        for file in files
        for panel in json.loads(file.read_text())["panels"]
        for target in panel["targets"]
    ]


async def ask_prometheus(http: httpx.AsyncClient, base: str) -> str:
    """It scrapes an engine, has all rules, and answers each query of the dashboards."""
    targets = (await get(http, f"{base}/api/v1/targets?state=active")).json()["data"]["activeTargets"]
    engines = [each for each in targets if each["labels"].get("job", "").startswith("trade-engine")]
    require(bool(engines), "it has no job called trade-engine")
    for each in engines:
        require(each["health"] == "up", f"{each['scrapeUrl']}: {each['health']} {each['lastError']}")
    groups = (await get(http, f"{base}/api/v1/rules?type=alert")).json()["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    require(bool(rules), "it has no rules")
    sick = [rule["name"] for rule in rules if rule["health"] == "err"]
    require(not sick, f"rules fail: {sick}")
    firing = sorted({rule["name"] for rule in rules if rule["state"] == "firing"})
    shown = 0
    for place, expression in panels():
        answer = await http.get(f"{base}/api/v1/query", params={"query": expression})
        require(answer.status_code == 200, f"{place}: {answer.text[:200]}")
        shown += bool(answer.json()["data"]["result"])
    return (
        f"{len(engines)} engines up, {len(rules)} rules (firing: {', '.join(firing) or 'none'}), "
        f"{len(panels())} queries of dashboards answered, {shown} with something to show"
    )


async def ask_alertmanager(http: httpx.AsyncClient, base: str) -> str:
    """It is ready, and has somebody to tell."""
    await get(http, f"{base}/-/ready")
    receivers = [each["name"] for each in (await get(http, f"{base}/api/v2/receivers")).json()]
    require(bool(receivers), "it has no receivers")
    return f"tells {', '.join(receivers)}"


async def ask_grafana(http: httpx.AsyncClient, base: str) -> str:
    """It lives, and lets nobody in without a login."""
    said = (await get(http, f"{base}/api/health")).json()
    stranger = await http.get(f"{base}/api/search")
    require(stranger.status_code in (401, 403), "it shows dashboards to everybody")
    return f"version {said.get('version')}, behind a login"


def checks(config: Config, options: argparse.Namespace, http: httpx.AsyncClient) -> dict[str, Callable[[], Any] | None]:
    """What is asked, by name; None: not configured or not named."""
    database, metrics = config.database, f"http://{options.host}:{config.server.metrics_port}"
    base = f"http://{options.host}:{config.server.http_port}"
    direct = database.direct_url if database.behind_pooler else None
    running = not options.without_engine
    found: dict[str, tuple[Any, Callable[[], Any]]] = {
        "PostgreSQL": (database.url, lambda: ask_postgres(str(database.url), pooled=database.behind_pooler)),
        "PostgreSQL, past the pooler": (direct, lambda: ask_postgres(str(direct), pooled=False)),
        "wallet service": (config.wallet.mode == "http", lambda: ask_wallet(http, config)),
        "Redis": (config.redis.url, lambda: ask_redis(config)),
        "RabbitMQ": (config.rabbitmq.url, lambda: ask_rabbitmq(config)),
        "engine": (running, lambda: ask_engine(http, base)),
        "engine's metrics": (running and config.monitoring.prometheus_enabled, lambda: ask_metrics(http, metrics)),
        "Prometheus": (options.prometheus, lambda: ask_prometheus(http, options.prometheus)),
        "Alertmanager": (options.alertmanager, lambda: ask_alertmanager(http, options.alertmanager)),
        "Grafana": (options.grafana, lambda: ask_grafana(http, options.grafana)),
    }
    return {name: ask if wanted else None for name, (wanted, ask) in found.items()}


async def answered(ask: Callable[[], Awaitable[str]]) -> tuple[bool, str]:
    """Whether it is well, and what it says."""
    try:
        async with asyncio.timeout(TIMEOUT_S):
            return True, await ask()
    except TimeoutError:
        return False, f"no answer within {TIMEOUT_S:.0f} s"
    except _WRONG as error:
        return False, str(error) or repr(error)


async def verify(config: Config, options: argparse.Namespace) -> list[Found]:
    """Ask everything, one after the other."""
    report = []
    async with httpx.AsyncClient(timeout=TIMEOUT_S) as http:
        for name, ask in checks(config, options, http).items():
            report.append(Found(name, *((None, "not used") if ask is None else await answered(ask))))
    return report


def main() -> int:
    """Print the report; 1 if something is not well, 2 if the options are wrong."""
    parser = argparse.ArgumentParser(prog="verify-infrastructure", description=__doc__)
    parser.add_argument("--config", type=Path, help="the engine's file of options")
    parser.add_argument("--host", default="127.0.0.1", help="where the engine's ports are")
    parser.add_argument("--without-engine", action="store_true", help="before it is started")
    for name in ("prometheus", "alertmanager", "grafana"):
        parser.add_argument(f"--{name}", metavar="URL")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    try:
        report = asyncio.run(verify(load_config(options.config), options))
    except ConfigError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    if options.json:
        print(json.dumps([found._asdict() for found in report]))
    else:
        for found in report:
            verdict = {True: "ok", False: "FAILED", None: "-"}[found.well]
            print(f"{verdict:<7} {found.what:<28} {found.said}")
    return int(any(found.well is False for found in report))


if __name__ == "__main__":
    sys.exit(main())
