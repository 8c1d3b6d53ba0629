"""`trade-engine events tail|dead|requeue|new-stream`: what other services are told, and what became of it."""

import json
import uuid
from collections.abc import Iterable
from contextlib import aclosing
from pathlib import Path

import asyncpg
import click

from trade_engine.bootstrap.attached import attached_url
from trade_engine.bootstrap.relay import make_topology
from trade_engine.cli.options import asynchronous, config_option, configure, data_dir_option, json_option
from trade_engine.cli.output import show
from trade_engine.config import Config
from trade_engine.messaging.broker import BrokerAway
from trade_engine.messaging.inspection import Passing, channel_of, passing, requeue_dead, told_after, waiting
from trade_engine.messaging.source import RelaySource, new_stream
from trade_engine.messaging.topology import DEAD_QUEUE

_limit_option = click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 100_000))


@click.group("events")
def events() -> None:
    """Show events and dead letters of RabbitMQ, or begin a new stream of them."""


def _rabbit(config: Config) -> str:
    if config.rabbitmq.url is None:
        raise click.ClickException("rabbitmq.url is not set: there is no RabbitMQ")
    return config.rabbitmq.url


@events.command("tail")
@click.option("--queue", help="What waits in this queue, instead; it goes on waiting.")
@click.option("--from-sequence", type=click.IntRange(0), help="What the journal tells from there on, instead.")
@_limit_option
@data_dir_option
@config_option
@asynchronous
async def tail_command(
    queue: str | None, from_sequence: int | None, limit: int, data_dir: Path, config_file: Path | None
) -> None:
    """Print events as they are published, a JSON line each, up to a number of them."""
    config = configure(config_file)
    if from_sequence is not None:
        async with attached_url(config, data_dir) as url:
            source = RelaySource(url, str(uuid.uuid4()), "events tail")
            try:
                async with aclosing(told_after(source, max(0, from_sequence - 1))) as told:
                    async for message in told:
                        click.echo(message.body)
                        limit -= 1
                        if not limit:
                            return
            except ValueError as error:
                raise click.ClickException(str(error)) from error
            finally:
                await source.close()
        return
    try:
        async with channel_of(_rabbit(config)) as channel:
            if queue is not None:
                _print(await waiting(channel, queue, limit))
                return
            async with aclosing(passing(channel, make_topology(config))) as stream:
                async for event in stream:
                    _print([event])
                    limit -= 1
                    if not limit:
                        return
    except BrokerAway as error:
        raise click.ClickException(f"RabbitMQ: {error}") from error


@events.command("dead")
@_limit_option
@config_option
@json_option
@asynchronous
async def dead_command(limit: int, config_file: Path | None, *, as_json: bool) -> None:
    """List dead letters, oldest first, with the queue that each died in and why; they stay."""
    try:
        async with channel_of(_rabbit(configure(config_file))) as channel:
            found = await waiting(channel, DEAD_QUEUE, limit)
    except BrokerAway as error:
        raise click.ClickException(f"RabbitMQ: {error}") from error
    show({"dead": [_row(letter, as_json=as_json) for letter in found]}, as_json=as_json)


@events.command("requeue")
@_limit_option
@config_option
@json_option
@asynchronous
async def requeue_command(limit: int, config_file: Path | None, *, as_json: bool) -> None:
    """Put dead letters back into the queue that each died in, oldest first."""
    try:
        async with channel_of(_rabbit(configure(config_file))) as channel:
            done = await requeue_dead(channel, limit)
    except BrokerAway as error:
        raise click.ClickException(f"RabbitMQ: {error}") from error
    show({"requeued": [_row(letter, as_json=as_json) for letter in done]}, as_json=as_json)


@events.command("new-stream")
@data_dir_option
@config_option
@json_option
@asynchronous
async def new_stream_command(data_dir: Path, config_file: Path | None, *, as_json: bool) -> None:
    """Begin a new stream: to be called once after a backup was restored, so that no message id comes twice."""
    async with attached_url(configure(config_file), data_dir) as url:
        connection = await asyncpg.connect(url)
        try:
            stream_id = await new_stream(connection)
        finally:
            await connection.close()
    show({"stream_id": stream_id}, as_json=as_json)


def _print(messages: Iterable[Passing]) -> None:
    for message in messages:
        click.echo(message.body)


def _row(letter: Passing, *, as_json: bool) -> object:
    if not as_json:
        return f"{letter.message_id} {letter.key}: {letter.why} in {letter.died_in}, {letter.times} times"
    try:
        body = json.loads(letter.body)
    except ValueError:
        body = letter.body.decode(errors="replace")
    return {"message_id": letter.message_id, "queue": letter.died_in, "reason": letter.why, "body": body}
