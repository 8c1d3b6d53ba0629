"""`trade-engine webhooks add|list|pause|resume|rotate|remove|dead|replay`: where events are sent, and what failed."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import click
import msgspec

from trade_engine.bootstrap.attached import attached_url
from trade_engine.bootstrap.webhooks import webhook_store
from trade_engine.cli.options import asynchronous, config_option, configure, data_dir_option, json_option
from trade_engine.cli.output import show
from trade_engine.edge.rest.webhooks import show_dead, show_webhook
from trade_engine.settlement.dead_letters import audit
from trade_engine.storage.pool import PoolSettings, close_pool, open_pool
from trade_engine.storage.types import Pool
from trade_engine.storage.webhooks import OVERLAP_H, OVERLAP_H_MAX, WebhookEndpoint, WebhookStore

_ACTOR = "command line"
_reason_option = click.option("--reason", required=True, help="Why; kept in the audit.")


@click.group("webhooks")
def webhooks() -> None:
    """Register and look after the endpoints that events are sent to."""


@asynccontextmanager
async def _opened(config_file: Path | None, data_dir: Path) -> AsyncIterator[tuple[WebhookStore, Pool]]:
    config = configure(config_file)
    async with attached_url(config, data_dir) as url:
        pool = await open_pool(url, PoolSettings(max_open=2))
        try:
            yield webhook_store(config, pool, data_dir), pool
        finally:
            await close_pool(pool)


@asynccontextmanager
async def _audited(
    config_file: Path | None, data_dir: Path, action: str, subject: str, reason: str
) -> AsyncIterator[WebhookStore]:
    """The store, once it is noted what is asked for and why."""
    async with _opened(config_file, data_dir) as (store, pool):
        await audit(pool, _ACTOR, f"webhook.{action}", subject[:200], reason, "asked for")
        yield store


@webhooks.command("add")
@click.argument("url")
@click.option("--name", required=True, help="What it is for.")
@click.option("--event", "event_types", multiple=True, help="Only this type, as trade.executed; default: all.")
@click.option("--symbol", "symbols", multiple=True, help="Only this market, as BTC/USDT; default: all.")
@_reason_option
@data_dir_option
@config_option
@json_option
@asynchronous
async def add_command(
    url: str,
    name: str,
    event_types: tuple[str, ...],
    symbols: tuple[str, ...],
    reason: str,
    data_dir: Path,
    config_file: Path | None,
    *,
    as_json: bool,
) -> None:
    """Register URL; its secret is shown this once."""
    async with _opened(config_file, data_dir) as (store, pool):
        store.check(url, name, event_types, symbols)
        await audit(pool, _ACTOR, "webhook.add", url[:200], reason, "asked for")
        endpoint, secret = await store.add(url, name, event_types, symbols)
    show(_shown(endpoint) | {"secret": secret}, as_json=as_json)


@webhooks.command("list")
@data_dir_option
@config_option
@json_option
@asynchronous
async def list_command(data_dir: Path, config_file: Path | None, *, as_json: bool) -> None:
    """List the endpoints, without their secrets."""
    async with _opened(config_file, data_dir) as (store, _):
        found = await store.every()
    shown = [_shown(each) if as_json else _line(each) for each in found]
    show({"webhooks": shown}, as_json=as_json)


@webhooks.command("pause")
@click.argument("endpoint_id")
@_reason_option
@data_dir_option
@config_option
@json_option
@asynchronous
async def pause_command(
    endpoint_id: str, reason: str, data_dir: Path, config_file: Path | None, *, as_json: bool
) -> None:
    """Send an endpoint nothing more for now; what comes waits."""
    async with _audited(config_file, data_dir, "pause", endpoint_id, reason) as store:
        show(_shown(await store.pause(endpoint_id, reason)), as_json=as_json)


@webhooks.command("resume")
@click.argument("endpoint_id")
@_reason_option
@data_dir_option
@config_option
@json_option
@asynchronous
async def resume_command(
    endpoint_id: str, reason: str, data_dir: Path, config_file: Path | None, *, as_json: bool
) -> None:
    """Send a paused endpoint what waits, oldest first."""
    async with _audited(config_file, data_dir, "resume", endpoint_id, reason) as store:
        show(_shown(await store.resume(endpoint_id)), as_json=as_json)


@webhooks.command("rotate")
@click.argument("endpoint_id")
@click.option(
    "--overlap-hours", default=OVERLAP_H, show_default=True, type=click.IntRange(0, OVERLAP_H_MAX),
    help="So long the secret before signs, too.",
)  # fmt: skip
@_reason_option
@data_dir_option
@config_option
@json_option
@asynchronous
async def rotate_command(
    endpoint_id: str, overlap_hours: int, reason: str, data_dir: Path, config_file: Path | None, *, as_json: bool
) -> None:
    """Give an endpoint another secret, which is shown this once."""
    async with _audited(config_file, data_dir, "rotate", endpoint_id, reason) as store:
        endpoint, secret = await store.rotate(endpoint_id, overlap_hours)
    show(_shown(endpoint) | {"secret": secret}, as_json=as_json)


@webhooks.command("remove")
@click.argument("endpoint_id")
@_reason_option
@data_dir_option
@config_option
@json_option
@asynchronous
async def remove_command(
    endpoint_id: str, reason: str, data_dir: Path, config_file: Path | None, *, as_json: bool
) -> None:
    """Forget an endpoint, what waits for it, and its dead letters."""
    async with _audited(config_file, data_dir, "remove", endpoint_id, reason) as store:
        show(_shown(await store.remove(endpoint_id)), as_json=as_json)


@webhooks.command("dead")
@click.argument("endpoint_id")
@click.option("--after", default=0, show_default=True, type=click.IntRange(0), help="Those with a higher number.")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 10_000))
@data_dir_option
@config_option
@json_option
@asynchronous
async def dead_command(
    endpoint_id: str, after: int, limit: int, data_dir: Path, config_file: Path | None, *, as_json: bool
) -> None:
    """List what an endpoint would not take, oldest first."""
    async with _opened(config_file, data_dir) as (store, _):
        found = [show_dead(letter) for letter in await store.dead(endpoint_id, after, limit)]
    shown = [
        msgspec.to_builtins(letter)
        if as_json
        else f"{letter.delivery_id} {letter.event} {letter.event_id}: {letter.attempts} tries, {letter.last_outcome}"
        for letter in found
    ]
    show({"dead": shown}, as_json=as_json)


@webhooks.command("replay")
@click.argument("endpoint_id")
@click.option("--delivery", "delivery_id", type=click.IntRange(1), help="Only this one; default: all.")
@_reason_option
@data_dir_option
@config_option
@json_option
@asynchronous
async def replay_command(
    endpoint_id: str, delivery_id: int | None, reason: str, data_dir: Path, config_file: Path | None, *, as_json: bool
) -> None:
    """Send dead letters of an endpoint again, with all their tries; a paused one gets them when it is resumed."""
    async with _audited(config_file, data_dir, "replay", endpoint_id, reason) as store:
        show({"replayed": await store.replay(endpoint_id, delivery_id)}, as_json=as_json)


def _shown(endpoint: WebhookEndpoint) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.to_builtins(show_webhook(endpoint))
    return found


def _line(endpoint: WebhookEndpoint) -> str:
    wants = ", ".join([*sorted(endpoint.event_types), *sorted(endpoint.symbols)]) or "everything"
    state = "active" if endpoint.paused_us is None else f"paused: {endpoint.paused_why}"
    return f"{endpoint.endpoint_id} {endpoint.name}: {endpoint.url}, {wants}; {state}; {endpoint.dropped} dropped"
