"""`trade-engine api-key create|list|revoke|rotate`: API keys of any user, and the key that encrypts their secrets."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TextIO

import click
import msgspec

from trade_engine.bootstrap.attached import attached_url
from trade_engine.bootstrap.keys import encryption_file, encryption_keys, put_keys
from trade_engine.cli.options import asynchronous, config_option, configure, data_dir_option, json_option
from trade_engine.cli.output import show
from trade_engine.demo.users import user_id_of
from trade_engine.edge.auth.public_keys import PEM_MAX, read_public_key
from trade_engine.edge.rest.api_keys import check_terms, show_key
from trade_engine.settlement.dead_letters import audit
from trade_engine.storage.api_keys import ApiKeyStore
from trade_engine.storage.pool import PoolSettings, close_pool, open_pool
from trade_engine.storage.sealing import SecretUnreadableError
from trade_engine.storage.types import Pool
from trade_engine.storage.webhooks import WebhookStore

_ACTOR = "command line"


@click.group("api-key")
def api_key() -> None:
    """Make, list and revoke API keys; change what encrypts their secrets."""


@asynccontextmanager
async def _opened(config_file: Path | None, data_dir: Path) -> AsyncIterator[tuple[ApiKeyStore, Pool]]:
    config = configure(config_file)
    async with attached_url(config, data_dir) as url:
        pool = await open_pool(url, PoolSettings(max_open=2))
        try:
            yield ApiKeyStore(pool, encryption_keys(config, data_dir)), pool
        finally:
            await close_pool(pool)


@api_key.command("create")
@click.argument("user")
@click.option("--name", required=True, help="What it is for.")
@click.option("--scope", "scopes", multiple=True, default=("read",), show_default=True, help="read, trade, withdraw.")
@click.option("--ip", "networks", multiple=True, help="Address or network it may be used from; default: any.")
@click.option("--expires-at", help="When it ends, as 2027-01-31T12:00:00Z; default: never.")
@click.option("--institution", help="Institution id of its orders.")
@click.option(
    "--public-key", "public_key", type=click.File(), help="PEM file of an Ed25519 or RSA key: it signs, not a secret."
)
@data_dir_option
@config_option
@json_option
@asynchronous
async def create_command(
    user: str,
    name: str,
    scopes: tuple[str, ...],
    networks: tuple[str, ...],
    expires_at: str | None,
    institution: str | None,
    public_key: TextIO | None,
    data_dir: Path,
    config_file: Path | None,
    *,
    as_json: bool,
) -> None:
    """Make a key for USER (a UUID, or a demo name such as alice); its secret is shown this once."""
    registered = None if public_key is None else read_public_key(public_key.read(PEM_MAX + 1))
    allowed, expires_us = check_terms(name, list(scopes), list(networks), expires_at)
    async with _opened(config_file, data_dir) as (store, _):
        key, secret = await store.make(user_id_of(user), name, scopes, allowed, expires_us, institution, registered)
    show(msgspec.to_builtins(show_key(key)) | ({} if secret is None else {"secret": secret}), as_json=as_json)


@api_key.command("list")
@click.argument("user")
@data_dir_option
@config_option
@json_option
@asynchronous
async def list_command(user: str, data_dir: Path, config_file: Path | None, *, as_json: bool) -> None:
    """List the keys of USER, revoked ones too."""
    async with _opened(config_file, data_dir) as (store, _):
        keys = [show_key(key) for key in await store.of_user(user_id_of(user))]
    shown = [
        msgspec.to_builtins(key)
        if as_json
        else f"{key.key_id} {key.name}: {', '.join(key.scopes)}{' (revoked)' if key.revoked_at else ''}"
        for key in keys
    ]
    show({"api_keys": shown}, as_json=as_json)


@api_key.command("revoke")
@click.argument("key_id")
@click.option("--reason", required=True, help="Why; kept in the audit.")
@data_dir_option
@config_option
@json_option
@asynchronous
async def revoke_command(key_id: str, reason: str, data_dir: Path, config_file: Path | None, *, as_json: bool) -> None:
    """Revoke a key; running servers refuse it within about a second."""
    async with _opened(config_file, data_dir) as (store, pool):
        await audit(pool, _ACTOR, "api_key.revoke", key_id[:100], reason, "asked for")
        key = await store.revoke(key_id, None)
    show(msgspec.to_builtins(show_key(key)), as_json=as_json)


@api_key.command("rotate")
@click.option("--reason", required=True, help="Why; kept in the audit.")
@click.option(
    "--keep-keys", is_flag=True, help="Make no new key: the first one of those that are there is the new one."
)
@data_dir_option
@config_option
@json_option
@asynchronous
async def rotate_command(
    reason: str, data_dir: Path, config_file: Path | None, *, keep_keys: bool, as_json: bool
) -> None:
    """Encrypt the secrets of API keys and webhooks with a new key, beside a running engine; nobody notices.

    The new key is put before the old one into the file that holds it, then every secret is encrypted anew, then the old
    one is taken out.  May be repeated whenever it was cut short.  With --keep-keys the file, or the option, is left
    alone: put the new key before the old one, restart what cannot read it anew, call this, and take the old one out.
    """
    config = configure(config_file)
    file, keys = encryption_file(config, data_dir), encryption_keys(config, data_dir)
    if file is None and not keep_keys:
        raise click.ClickException("auth.encryption_key is an option, which this cannot change: see --keep-keys")
    async with _opened(config_file, data_dir) as (_, pool):
        await audit(pool, _ACTOR, "api_key.rotate", "encryption key", reason, "asked for")
        if file is not None and not keep_keys:
            put_keys(file, [secrets.token_bytes(32), *keys()])
        try:
            count = await ApiKeyStore(pool, keys).encrypt_anew()
            webhooks = await WebhookStore(pool, keys).encrypt_anew()
        except SecretUnreadableError as error:
            raise click.ClickException(
                f"the secret of {error} is under no key that is there: nothing changed"
            ) from error
        if file is not None and not keep_keys:
            put_keys(file, keys()[:1])
    show({"encrypted_anew": count, "webhooks": webhooks, "keys": len(keys())}, as_json=as_json)
