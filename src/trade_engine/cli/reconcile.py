"""`trade-engine reconcile`: compare engine and wallet, and release orphaned reservations if told to."""

from pathlib import Path

import click

from trade_engine.bootstrap.attached import attached_url, attached_wallet
from trade_engine.bootstrap.keys import jwt_secret
from trade_engine.cli.options import asynchronous, config_option, configure, data_dir_option, json_option
from trade_engine.cli.output import progress, show
from trade_engine.sequencer.clock import wall_clock_us
from trade_engine.settlement.dead_letters import audit
from trade_engine.settlement.reconciler import Reconciler
from trade_engine.storage.pool import PoolSettings, close_pool, open_pool


@click.command()
@click.option("--repair", is_flag=True, help="Release reservations that no order stands behind any more.")
@click.option("--reason", default="asked for on the command line", show_default=True, help="Why, for the audit.")
@data_dir_option
@config_option
@json_option
@asynchronous
async def reconcile(reason: str, data_dir: Path, config_file: Path | None, *, repair: bool, as_json: bool) -> None:
    """Compare reservations, trades, balances and deposits of engine and wallet; exit 1 on a difference.

    Works while the engine runs: what is in flight is no difference.
    """
    config = configure(config_file)
    async with attached_url(config, data_dir) as url:
        pool = await open_pool(url, PoolSettings(max_open=2))
        try:
            async with attached_wallet(url, config, jwt_secret(config, data_dir)) as wallet:
                if repair:
                    await audit(pool, "command line", "reconciliation.repair", "reservations", reason, "asked for")
                with progress("reconciling"):
                    outcome = await Reconciler(pool, wallet, wall_clock_us).run(repair=repair)
        finally:
            await close_pool(pool)
    rows = [difference._asdict() if as_json else str(difference) for difference in outcome.differences]
    show(
        {"differences": rows, "released": outcome.released, "took_ms": outcome.took_us // 1000, "ok": outcome.ok},
        as_json=as_json,
    )
    if not outcome.ok:
        raise SystemExit(1)
