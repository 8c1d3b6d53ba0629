"""`trade-engine asyncapi`: the WebSocket protocol, or the events over RabbitMQ, for programs."""

from importlib.resources import files

import click
import yaml

from trade_engine.messaging.asyncapi import describe


@click.command()
@click.option("--events", is_flag=True, help="The events over RabbitMQ instead.")
def asyncapi(*, events: bool) -> None:
    """Print the AsyncAPI document of the WebSocket."""
    if events:
        click.echo(yaml.safe_dump(describe(), sort_keys=False, width=110, allow_unicode=True), nl=False)
        return
    click.echo(files("trade_engine.edge.ws").joinpath("asyncapi.yaml").read_text(encoding="utf-8"), nl=False)
