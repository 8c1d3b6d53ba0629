"""`trade-engine serve`: start the engine and say how to use it."""

import asyncio
import contextlib
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import NamedTuple

import click
import structlog
import uvloop

from trade_engine.cli.log_lines import begin_log, fail, logged
from trade_engine.cli.options import config_option, configured, data_dir_option, explained
from trade_engine.cli.service import run_service
from trade_engine.cli.wallet import serve_wallet
from trade_engine.config import Loaded
from trade_engine.demo.users import PEOPLE, fund, require_loopback, require_own_database, user_id_of
from trade_engine.ops.supervisor import Supervisor
from trade_engine.roles.all import TradeEngine
from trade_engine.sequencer.failpoints import Failpoints

log = structlog.get_logger(__name__)


class Demo(NamedTuple):
    """What sort of demo is wanted."""

    #: Whether its markets move by themselves.
    lives: bool
    seed: int
    #: Prices of recorded trades that they follow, units of 1e-8; empty: they walk at random.
    recorded: Sequence[int]


@click.command()
@click.option(
    "--role",
    type=click.Choice(("all", "wallet", "notify")),
    default="all",
    show_default=True,
    help="What this process does: everything, the wallet service, or sending webhooks.",
)
@click.option("--demo", is_flag=True, help="Fund the users alice and bob, let the markets live, print a first request.")
@click.option("--demo-quiet", is_flag=True, help="With --demo: nobody trades but you.")
@click.option(
    "--demo-flow",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="With --demo: prices go as in this recorded flow (JSON lines, gzip or plain), not at random.",
)
@click.option("--demo-seed", type=int, default=1, show_default=True, help="With --demo: of what is random.")
@data_dir_option
@config_option
@click.option("--host", help="Address to listen on.")
@click.option("--port", type=int, help="Port of the REST API; 0 picks a free one.")
@click.option("--websocket-port", type=int, help="Port of the WebSocket; 0 picks a free one.")
@click.option("--take-over", is_flag=True, help="Do not stand by for an engine that writes now: end it.")
@click.option(
    "--failpoints",
    envvar="TRADE_ENGINE_FAILPOINTS",
    default="",
    help="For drills: step=action[@visit],...",
    hidden=True,
)
def serve(
    data_dir: Path,
    config_file: Path | None,
    host: str | None,
    port: int | None,
    websocket_port: int | None,
    failpoints: str,
    role: str,
    demo_flow: Path | None,
    demo_seed: int,
    *,
    demo: bool,
    demo_quiet: bool,
    take_over: bool,
) -> None:
    """Run the engine until SIGINT or SIGTERM.

    While another engine writes to the same database it stands by; superseded by another, it ends with status 75.
    """
    if role != "all":
        if demo or take_over or websocket_port is not None:
            raise click.UsageError(f"--demo, --take-over and --websocket-port are not for --role {role}")
        _serve_role(role, config_file, data_dir, host, port)
        return
    if not demo and (demo_quiet or demo_flow is not None):
        raise click.UsageError("--demo-quiet and --demo-flow go with --demo")
    if demo_quiet and demo_flow is not None:
        raise click.UsageError("--demo-quiet has no flow")

    def read() -> Loaded:
        return configured(config_file, server__host=host, server__http_port=port, server__websocket_port=websocket_port)

    with logged(), explained():
        config = begin_log(read(), "all")
        wanted = None
        if demo:
            require_loopback(config.server.host)
            wanted = Demo(not demo_quiet, demo_seed, _recorded_prices(demo_flow))
        engine = TradeEngine(
            config, data_dir, Failpoints(failpoints), take_over=take_over, reread=lambda: read().config
        )
        uvloop.run(_serve(engine, wanted))


def _serve_role(role: str, config_file: Path | None, data_dir: Path, host: str | None, port: int | None) -> None:
    """Run a role that is a service of its own until SIGINT or SIGTERM."""
    with logged(), explained():
        if role == "wallet":
            serve_wallet(configured(config_file, wallet__host=host, wallet__port=port), data_dir)
            return
        from trade_engine.roles.notify import NotifyService

        config = begin_log(configured(config_file, webhooks__host=host, webhooks__port=port), role)
        uvloop.run(run_service(NotifyService(config, data_dir), "Notification", config.webhooks.host))


def _recorded_prices(file: Path | None) -> list[int]:
    """The prices at which a recorded flow trades."""
    if file is None:
        return []
    from trade_engine.bench.replay_core import replay_file

    try:
        _, trades = replay_file(file, "auto", lambda done, of: None)
    except (OSError, EOFError, ValueError) as error:
        raise click.ClickException(f"--demo-flow: {file} is no recorded flow: {error}") from error
    if len(trades) < 2:
        raise click.ClickException(f"--demo-flow: {file} has fewer than two trades")
    return [price for price, _ in trades]


async def _serve(engine: TradeEngine, demo: Demo | None) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, engine.stopping.set)
    loop.add_signal_handler(signal.SIGHUP, engine.reloader.reload_soon, engine.supervisor)
    started = False
    try:
        started = await _started(engine, demo)
        if started:
            log.info(
                "ready", http_port=engine.api.port, websocket_port=engine.websocket.port, core=engine.book_kind,
                markets=len(engine.markets), epoch=engine.epoch,
            )  # fmt: skip
            async with _living(engine, demo):
                if demo or sys.stdout.isatty():
                    click.echo(_welcome(engine, demo))
                await engine.stopping.wait()
        log.info("stopping")
    finally:
        with contextlib.suppress(asyncio.CancelledError):
            await _stop(engine)
        _exit_if_it_had_to_end(engine.supervisor)
    if started and engine.sequencer.trouble:
        raise click.ClickException(engine.sequencer.trouble)


async def _stop(engine: TradeEngine) -> None:
    """Stop it in time: a step that hangs is passed over, which loses nothing that is committed."""
    within_s = engine.config.server.shutdown_timeout_s
    try:
        async with asyncio.timeout(within_s):
            await engine.stop()
    except TimeoutError:
        engine.supervisor.end_engine(f"the stop took longer than server.shutdown_timeout_s ({within_s:g})")


@contextlib.asynccontextmanager
async def _living(engine: TradeEngine, demo: Demo | None) -> AsyncIterator[None]:
    """Let a demo's markets live meanwhile, and take its quotes out of the books at the end."""
    if demo is None or not demo.lives:
        yield
        return
    from trade_engine.demo.market_life import MarketLife

    core = engine.engine
    life = MarketLife(
        engine.markets, core.trading, core.reader, core.operations, seed=demo.seed, recorded=demo.recorded
    )
    core.publisher.add("demo", life)
    engine.supervisor.start("demo", life.run)
    try:
        yield
    finally:
        await engine.supervisor.end("demo")
        await life.stop()


async def _started(engine: TradeEngine, demo: Demo | None) -> bool:
    """Start it; False if it was told to end, or had to, before it was there: it may stand by for days."""

    async def prepare(engine: TradeEngine) -> None:
        if demo is not None:
            await require_own_database(engine.pool)
            await fund(engine.wallet, engine.markets, market_maker=demo.lives)

    starting = asyncio.create_task(engine.start(prepare))
    ending = asyncio.create_task(engine.stopping.wait())
    await asyncio.wait((starting, ending), return_when=asyncio.FIRST_COMPLETED)
    ending.cancel()
    if not starting.done():
        starting.cancel()
        await asyncio.wait((starting,))
        if starting.cancelled():
            return False
    starting.result()
    return True


def _exit_if_it_had_to_end(supervisor: Supervisor) -> None:
    if supervisor.reason is not None:
        fail(supervisor.reason, supervisor.status)


def _console(engine: TradeEngine, host: str) -> list[str]:
    """Where operators are shown, if they are."""
    if not engine.config.pages.console:
        return []
    server = engine.api if engine.config.server.admin_port is None else engine.administration
    return [f"  console     http://{host}:{server.port}/console"]


def _welcome(engine: TradeEngine, demo: Demo | None) -> str:
    host = engine.config.server.host
    base = f"http://{host}:{engine.api.port}"
    lines = [
        "",
        f"  Trade Engine is up; matching core: {engine.book_kind}, {len(engine.markets)} markets",
        f"  REST API    {base}/api/v1",
        f"  WebSocket   ws://{host}:{engine.websocket.port}/ws",
        *([f"  page        {base}/trade"] if engine.config.pages.enabled else []),
        *_console(engine, host),
        f"  reference   {base}/docs",
        f"  health      {base}/health/ready",
        *(
            [f"  metrics     http://{host}:{engine.scraped.port}/metrics"]
            if engine.config.monitoring.prometheus_enabled
            else []
        ),
        f"  order book  {base}/api/v1/orderbook/{engine.markets[0].symbol.replace('/', '-')}",
    ]
    if demo is not None:
        day = 86_400
        alice, bob = (engine.issue_token(user_id_of(name), ttl_s=day) for name in PEOPLE)
        body = '{"symbol":"BTC/USDT","side":"%s","type":"LIMIT","quantity":"0.1","price":"50000.00"}'
        lines += [
            "",
            f"  token of alice, good for a day:\n{alice}",
            "",
            "  Paste this to sell as alice:",
            f"curl -s {base}/api/v1/orders -H 'Authorization: Bearer {alice}' -d '{body % 'SELL'}'",
            "",
            "  and, in a second terminal, this to buy as bob, then to see the trade and both balances:",
            f"curl -s {base}/api/v1/orders -H 'Authorization: Bearer {bob}' -d '{body % 'BUY'}'",
            f"curl -s '{base}/api/v1/trades?symbol=BTC/USDT'",
            f"curl -s {base}/api/v1/balances -H 'Authorization: Bearer {alice}'",
            f"curl -s {base}/api/v1/balances -H 'Authorization: Bearer {bob}'",
        ]
    return "\n".join([*lines, "", "  Ctrl-C stops it.", ""])
