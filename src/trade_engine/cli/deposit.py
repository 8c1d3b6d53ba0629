"""`trade-engine deposit`: credit a user, straight in the ledger."""

import uuid
from pathlib import Path

import click

from trade_engine.bootstrap.attached import attached_url, attached_wallet, require_asset
from trade_engine.bootstrap.keys import jwt_secret
from trade_engine.cli.options import (
    asynchronous,
    config_option,
    configure,
    data_dir_option,
    json_option,
)
from trade_engine.cli.output import show
from trade_engine.demo.users import user_id_of
from trade_engine.domain.errors import InvalidRequest, Refused
from trade_engine.domain.scale import ScaleError, format_units, parse_units


@click.command()
@click.argument("user")
@click.argument("asset")
@click.argument("amount")
@click.option("--operation-id", help="UUID; the same one again deposits nothing more.")
@data_dir_option
@config_option
@json_option
@asynchronous
async def deposit(
    user: str,
    asset: str,
    amount: str,
    operation_id: str | None,
    data_dir: Path,
    config_file: Path | None,
    *,
    as_json: bool,
) -> None:
    """Credit USER (a UUID, or a demo name such as alice) with AMOUNT of ASSET; works while the engine runs."""
    try:
        units = parse_units(amount)
    except ScaleError as error:
        raise InvalidRequest("INVALID_AMOUNT", f"amount {amount!r} {error}") from error
    operation = operation_id or str(uuid.uuid4())
    config = configure(config_file)
    async with (
        attached_url(config, data_dir) as url,
        attached_wallet(url, config, jwt_secret(config, data_dir)) as wallet,
    ):
        await require_asset(url, config, asset.upper())
        outcome = await wallet.deposit(user_id_of(user), asset.upper(), units, operation)
    if not outcome.ok:
        raise Refused(outcome.code, outcome.message)
    show(
        {
            "user_id": user_id_of(user),
            "asset": asset.upper(),
            "available": format_units(outcome.available),
            "reserved": format_units(outcome.reserved),
            "operation_id": operation,
        },
        as_json=as_json,
    )
