"""`trade-engine serve`: start the engine and say how to use it."""

import asyncio
import contextlib
import signal
import sys
import uuid
from pathlib import Path
from typing import Final

import click
import structlog
import uvloop

from trade_engine.cli.log_lines import begin_log, fail, logged
from trade_engine.cli.options import config_option, configured, data_dir_option, explained, user_id_of
from trade_engine.config import Loaded
from trade_engine.domain.scale import UNIT
from trade_engine.ops.supervisor import Supervisor
from trade_engine.roles.all import TradeEngine
from trade_engine.sequencer.failpoints import Failpoints

log = structlog.get_logger(__name__)

_DEMO_USERS: Final = ("alice", "bob")
_DEMO_FUNDS: Final = {"USDT": 1_000_000, "BTC": 100, "ETH": 1_000}


@click.command()
@click.option("--demo", is_flag=True, help="Fund the users alice and bob, and print a first request.")
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
    *,
    demo: bool,
    take_over: bool,
) -> None:
    """Run the engine until SIGINT or SIGTERM.

    While another engine writes to the same database it stands by; superseded by another, it ends with status 75.
    """

    def read() -> Loaded:
        return configured(config_file, server__host=host, server__http_port=port, server__websocket_port=websocket_port)

    with logged(), explained():
        config = begin_log(read(), "all")
        engine = TradeEngine(
            config, data_dir, Failpoints(failpoints), take_over=take_over, reread=lambda: read().config
        )
        uvloop.run(_serve(engine, demo=demo))


async def _serve(engine: TradeEngine, *, demo: bool) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, engine.stopping.set)
    loop.add_signal_handler(signal.SIGHUP, engine.reloader.reload_soon, engine.supervisor)
    started = False
    try:
        started = await _started(engine, demo=demo)
        if started:
            log.info(
                "ready", http_port=engine.api.port, websocket_port=engine.websocket.port, core=engine.book_kind,
                markets=len(engine.markets), epoch=engine.epoch,
            )  # fmt: skip
            if demo or sys.stdout.isatty():
                click.echo(_welcome(engine, demo=demo))
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


async def _started(engine: TradeEngine, *, demo: bool) -> bool:
    """Start it; False if it was told to end, or had to, before it was there: it may stand by for days."""
    starting = asyncio.create_task(engine.start(fund_demo_users if demo else None))
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


async def fund_demo_users(engine: TradeEngine) -> None:
    """Give the demo users their funds, once per database."""
    for name in _DEMO_USERS:
        user = user_id_of(name)
        for asset, amount in _DEMO_FUNDS.items():
            operation = str(uuid.uuid5(uuid.UUID(user), f"demo {asset}"))
            await engine.wallet.deposit(user, asset, amount * UNIT, operation)


def _welcome(engine: TradeEngine, *, demo: bool) -> str:
    host = engine.config.server.host
    base = f"http://{host}:{engine.api.port}"
    lines = [
        "",
        f"  Trade Engine is up; matching core: {engine.book_kind}, {len(engine.markets)} markets",
        f"  REST API    {base}/api/v1",
        f"  WebSocket   ws://{host}:{engine.websocket.port}/ws",
        f"  reference   {base}/docs",
        f"  health      {base}/health/ready",
        *(
            [f"  metrics     http://{host}:{engine.scraped.port}/metrics"]
            if engine.config.monitoring.prometheus_enabled
            else []
        ),
        f"  order book  {base}/api/v1/orderbook/{engine.markets[0].symbol.replace('/', '-')}",
    ]
    if demo:
        day = 86_400
        alice, bob = (engine.issue_token(user_id_of(name), ttl_s=day) for name in _DEMO_USERS)
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
