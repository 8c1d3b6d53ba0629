"""`trade-engine dead-letters list|show|retry|resolve`: what the wallet refused for good."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import click
import msgspec

from trade_engine.bootstrap.attached import attached_url, attached_wallet
from trade_engine.bootstrap.keys import jwt_secret
from trade_engine.cli.options import asynchronous, config_option, configure, data_dir_option, json_option
from trade_engine.cli.output import show
from trade_engine.settlement.dead_letters import DeadLetters
from trade_engine.storage.pool import PoolSettings, close_pool, open_pool

_ACTOR = "command line"
_reason_option = click.option("--reason", required=True, help="Why; kept in the audit.")


@click.group("dead-letters")
def dead_letters() -> None:
    """List, show, retry and resolve settlements that the wallet refused for good."""


@asynccontextmanager
async def _opened(config_file: Path | None, data_dir: Path) -> AsyncIterator[DeadLetters]:
    config = configure(config_file)
    async with attached_url(config, data_dir) as url:
        pool = await open_pool(url, PoolSettings(max_open=2))
        try:
            async with attached_wallet(url, config, jwt_secret(config, data_dir)) as wallet:
                yield DeadLetters(pool, wallet)
        finally:
            await close_pool(pool)


@dead_letters.command("list")
@click.option("--after", default=0, show_default=True, help="Those with a higher id.")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 10_000))
@data_dir_option
@config_option
@json_option
@asynchronous
async def list_command(after: int, limit: int, data_dir: Path, config_file: Path | None, *, as_json: bool) -> None:
    """List dead letters, oldest first."""
    async with _opened(config_file, data_dir) as letters:
        rows = await letters.page(after, limit)
    shown = [
        msgspec.to_builtins(row)
        if as_json
        else f"{row.instruction_id} {row.kind} {row.trade_id or row.order_id}: {row.last_reason}"
        for row in rows
    ]
    show({"dead_letters": shown}, as_json=as_json)


@dead_letters.command("show")
@click.argument("instruction_id", type=click.IntRange(1))
@data_dir_option
@config_option
@json_option
@asynchronous
async def show_command(instruction_id: int, data_dir: Path, config_file: Path | None, *, as_json: bool) -> None:
    """Show one dead letter."""
    async with _opened(config_file, data_dir) as letters:
        show(msgspec.to_builtins(await letters.show(instruction_id)), as_json=as_json)


@dead_letters.command("retry")
@click.argument("instruction_id", type=click.IntRange(1))
@_reason_option
@data_dir_option
@config_option
@json_option
@asynchronous
async def retry_command(
    instruction_id: int, reason: str, data_dir: Path, config_file: Path | None, *, as_json: bool
) -> None:
    """Give a dead letter its attempts back."""
    async with _opened(config_file, data_dir) as letters:
        await letters.retry(instruction_id, _ACTOR, reason)
    show({"instruction_id": instruction_id, "status": "RETRY"}, as_json=as_json)


@dead_letters.command("resolve")
@click.argument("instruction_id", type=click.IntRange(1))
@_reason_option
@data_dir_option
@config_option
@json_option
@asynchronous
async def resolve_command(
    instruction_id: int, reason: str, data_dir: Path, config_file: Path | None, *, as_json: bool
) -> None:
    """Give up on a dead letter: a trade's reserved funds go back to their owners."""
    async with _opened(config_file, data_dir) as letters:
        await letters.resolve(instruction_id, _ACTOR, reason)
    show({"instruction_id": instruction_id, "status": "RESOLVED"}, as_json=as_json)
