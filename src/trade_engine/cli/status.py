"""`trade-engine status`: how a running engine is, live or once, read from its metrics and its readiness."""

import asyncio
import contextlib
import json
import sys
import time
from typing import Any, Final

import click
import httpx
import msgspec
from rich.live import Live
from rich.table import Table

from trade_engine.cli.options import asynchronous, json_option
from trade_engine.cli.output import show
from trade_engine.cli.status_reading import Sample, Status, read_sample, status_between

_TIMEOUT_S: Final = 5.0
#: What a line is called, by field.
_TITLES: Final = {
    "orders_per_s": "orders/s",
    "trades_per_s": "trades/s",
    "requests_per_s": "requests/s",
    "errors_per_s": "5xx/s",
}


@click.command("status")
@click.option(
    "--metrics-url", envvar="TRADE_ENGINE_METRICS_URL", default="http://127.0.0.1:9090", show_default=True,
    help="Where the engine's metrics are.",
)  # fmt: skip
@click.option("--every", "every_s", type=click.FloatRange(0.1, 3600), default=1.0, show_default=True, help="Seconds.")
@click.option("--once", is_flag=True, help="Look for one interval, print it, and stop: exit 1 if it is not ready.")
@json_option
@asynchronous
async def status(metrics_url: str, every_s: float, *, once: bool, as_json: bool) -> None:
    """Show how a running engine is: rates, latencies, queues, dependencies, role.  Ctrl-C stops it.

    Rates and latencies are those of the last interval; a latency in which nothing happened is a dash.
    """
    async with httpx.AsyncClient(base_url=metrics_url.rstrip("/"), timeout=_TIMEOUT_S) as http:
        if once:
            before = await _sampled(http)
            await asyncio.sleep(every_s)
            found = status_between(before, await _sampled(http))
            _print(found, as_json=as_json)
            if not found.ready:
                raise SystemExit(1)
            return
        with contextlib.suppress(asyncio.CancelledError):
            await _follow(http, every_s, as_json=as_json)


async def _follow(http: httpx.AsyncClient, every_s: float, *, as_json: bool) -> None:
    on_screen = sys.stdout.isatty() and not as_json
    before = await _sampled(http)
    with Live(auto_refresh=False) if on_screen else contextlib.nullcontext() as live:
        while True:
            await asyncio.sleep(every_s)
            try:
                after = await _sampled(http)
            except click.ClickException as error:
                # It may be on its way back.
                if live is not None:
                    live.update(_unreachable(error.message), refresh=True)
                continue
            found, before = status_between(before, after), after
            if live is not None:
                live.update(_screen(found), refresh=True)
            else:
                _print(found, as_json=as_json)


async def _sampled(http: httpx.AsyncClient) -> Sample:
    """What the engine says now.

    Raises:
        ClickException: it cannot be reached, or what answers is no engine.
    """
    try:
        metrics, ready = await asyncio.gather(http.get("/metrics"), http.get("/health/ready"))
        return read_sample(time.monotonic(), metrics.text, ready.json())
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        said = str(error) or type(error).__name__
        raise click.ClickException(
            f"no metrics at {http.base_url}: {said} (--metrics-url, server.metrics_port)"
        ) from error
    except ValueError as error:
        raise click.ClickException(f"what answers at {http.base_url} is no trade engine: {error}") from error


def _print(found: Status, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(msgspec.to_builtins(found)))
        return
    rows = {title: value for _, title, value in _rows(found)}
    show(rows, as_json=False)


def _rows(found: Status) -> list[tuple[str, str, str]]:
    """Group, title and value of each line."""
    rows: list[tuple[str, str, str]] = []
    for name, value in msgspec.structs.asdict(found).items():
        title = _TITLES.get(name, name.replace("_", " "))
        if name == "dependencies":
            rows += [(name, part, said) for part, said in value.items()]
        elif name == "latencies_ms":
            rows += [(name, f"{what} ms (p50, p99)", _pair(each)) for what, each in value.items()]
        else:
            rows.append(("", title, _shown(value)))
    return rows


def _pair(found: Any) -> str:
    return " / ".join(_shown(each) for each in (found.p50, found.p99))


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,.1f}" if isinstance(value, float) else str(value)


def _screen(found: Status) -> Table:
    screen = Table(title=f"Trade Engine  {time.strftime('%H:%M:%S')}", show_header=False)
    screen.add_column(style="bold")
    screen.add_column(justify="right")
    group = ""
    for each, title, value in _rows(found):
        if each != group:
            screen.add_section()
        group = each
        bad = (each == "dependencies" and value not in ("ok", "not used")) or (title == "ready" and value == "no")
        screen.add_row(title, value, style="red" if bad else None)
    return screen


def _unreachable(why: str) -> Table:
    screen = Table(title=f"Trade Engine  {time.strftime('%H:%M:%S')}", show_header=False)
    screen.add_row(why, style="red")
    return screen
