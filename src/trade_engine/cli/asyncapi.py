"""`trade-engine asyncapi`: the WebSocket protocol for programs."""

from importlib.resources import files

import click


@click.command()
def asyncapi() -> None:
    """Print the AsyncAPI document of the WebSocket."""
    click.echo(files("trade_engine.edge.ws").joinpath("asyncapi.yaml").read_text(encoding="utf-8"), nl=False)
