"""`trade-engine account show|withdraw|correct`: a user's money, and moving it by hand, straight in the ledger."""

import contextlib
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import click

from trade_engine.bootstrap.attached import attached_url, attached_wallet, require_asset
from trade_engine.bootstrap.keys import jwt_secret
from trade_engine.cli.options import asynchronous, config_option, configure, data_dir_option, json_option
from trade_engine.cli.output import show
from trade_engine.demo.users import user_id_of
from trade_engine.domain.errors import InvalidRequest, Refused
from trade_engine.domain.scale import ScaleError, format_units, parse_units
from trade_engine.settlement.dead_letters import audit
from trade_engine.storage.pool import PoolSettings, close_pool, open_pool
from trade_engine.storage.queries import Queries
from trade_engine.storage.types import Pool
from trade_engine.wallet.port import MAX_AMOUNT, Entry, Wallet

_ACTOR: Final = "command line"
_HISTORY_S: Final = 30.0

_operation_option = click.option("--operation-id", type=click.UUID, help="The same one again moves nothing more.")
_reason_option = click.option("--reason", required=True, help="Why; kept in the audit.")


@click.group("account")
def account() -> None:
    """Show what is a user's; withdraw, and correct a balance, with a reason."""


@contextlib.asynccontextmanager
async def _opened(
    config_file: Path | None, data_dir: Path, asset: str | None = None
) -> AsyncIterator[tuple[Pool, Wallet]]:
    config = configure(config_file)
    async with (
        attached_url(config, data_dir) as url,
        attached_wallet(url, config, jwt_secret(config, data_dir)) as wallet,
    ):
        if asset is not None:
            await require_asset(url, config, asset)
        pool = await open_pool(url, PoolSettings(max_open=2))
        try:
            yield pool, wallet
        finally:
            await close_pool(pool)


@account.command("show")
@click.argument("user")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 500), help="Of each list.")
@data_dir_option
@config_option
@json_option
@asynchronous
async def show_command(user: str, limit: int, data_dir: Path, config_file: Path | None, *, as_json: bool) -> None:
    """Show balances, the newest ledger entries, orders and trades of USER (a UUID, or a demo name such as alice)."""
    user_id = user_id_of(user)
    async with _opened(config_file, data_dir) as (pool, wallet):
        queries = Queries(pool, _HISTORY_S)
        balances, entries = await wallet.balances(user_id), await wallet.ledger(user_id, MAX_AMOUNT, limit)
        orders = await queries.orders(user_id, limit=limit)
        trades = await queries.trades(user_id=user_id, limit=limit)
    held = [(row.asset, format_units(row.available), format_units(row.reserved)) for row in balances]
    found: dict[str, Any] = {
        "user_id": user_id,
        "balances": [f"{asset} available {free}, reserved {bound}" for asset, free, bound in held],
        "entries": [_entry_line(entry) for entry in entries],
        "orders": [
            f"{order.order_id} {order.side.name} {format_units(order.quantity)} {order.status.name}"
            for order in orders.rows
        ],
        "trades": [
            f"{trade.trade_id} {format_units(trade.quantity)} at {format_units(trade.price)}"
            f" {trade.settlement_status.name}"
            for trade in trades.rows
        ],
    }
    show(found, as_json=as_json)


@account.command("withdraw")
@click.argument("user")
@click.argument("asset")
@click.argument("amount")
@_operation_option
@_reason_option
@data_dir_option
@config_option
@json_option
@asynchronous
async def withdraw_command(
    user: str, asset: str, amount: str, operation_id: uuid.UUID | None, reason: str,
    data_dir: Path, config_file: Path | None, *, as_json: bool,
) -> None:  # fmt: skip
    """Take AMOUNT of ASSET from what USER has available; works while the engine runs."""
    async with _opened(config_file, data_dir, asset.upper()) as opened:
        moved = await _move(opened, "wallet.withdraw", user, asset, -_units(amount), operation_id, reason)
    show(moved, as_json=as_json)


@account.command("correct", context_settings={"ignore_unknown_options": True})
@click.argument("user")
@click.argument("asset")
@click.argument("amount")
@_operation_option
@_reason_option
@data_dir_option
@config_option
@json_option
@asynchronous
async def correct_command(
    user: str, asset: str, amount: str, operation_id: uuid.UUID | None, reason: str,
    data_dir: Path, config_file: Path | None, *, as_json: bool,
) -> None:  # fmt: skip
    """Change what USER has available of ASSET by AMOUNT, which may be below zero: -0.5."""
    units = _units(amount.removeprefix("-"))
    async with _opened(config_file, data_dir, asset.upper()) as opened:
        moved = await _move(
            opened, "wallet.correct", user, asset, -units if amount.startswith("-") else units, operation_id, reason
        )
    show(moved, as_json=as_json)


async def _move(
    opened: tuple[Pool, Wallet],
    action: str,
    user: str,
    asset: str,
    units: int,
    operation_id: uuid.UUID | None,
    reason: str,
) -> dict[str, Any]:
    """Move money between a user and the world outside, audited before, and again if it is refused."""
    pool, wallet = opened
    user_id, operation = user_id_of(user), str(operation_id or uuid.uuid4())
    subject = f"user {user_id}: {format_units(units)} {asset.upper()}, operation {operation}"
    await audit(pool, _ACTOR, action, subject, reason, "asked for")
    move = wallet.deposit if units > 0 else wallet.withdraw
    outcome = await move(user_id, asset.upper(), abs(units), operation)
    if not outcome.ok:
        await audit(pool, _ACTOR, action, subject, reason, f"refused: {outcome.code}")
        raise Refused(outcome.code, outcome.message)
    return {
        "user_id": user_id,
        "asset": asset.upper(),
        "amount": format_units(units),
        "available": format_units(outcome.available),
        "reserved": format_units(outcome.reserved),
        "operation_id": operation,
    }


def _units(amount: str) -> int:
    try:
        units = parse_units(amount)
    except ScaleError as error:
        raise InvalidRequest("INVALID_AMOUNT", f"amount {amount!r} {error}") from error
    if not units:
        raise InvalidRequest("INVALID_AMOUNT", "the amount must be above zero")
    return units


def _entry_line(entry: Entry) -> str:
    line = entry.line
    return (
        f"{entry.entry_id} {line.type.value} {line.asset} available {format_units(line.available_delta)}"
        f" -> {format_units(entry.available_after)}, reserved {format_units(line.reserved_delta)}"
        f" -> {format_units(entry.reserved_after)}, operation {entry.operation_id}"
    )
