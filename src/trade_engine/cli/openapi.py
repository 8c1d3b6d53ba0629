"""`trade-engine openapi`."""

import json

import click
import yaml

from trade_engine.edge.binance.openapi.document import describe
from trade_engine.edge.binance.routes import BINANCE_ROUTES
from trade_engine.edge.rest.openapi.document import document


@click.command()
@click.option("--yaml", "as_yaml", is_flag=True, help="As YAML, not JSON.")
@click.option("--face", type=click.Choice(("native", "binance")), default="native", show_default=True, help="Of which.")
def openapi(*, as_yaml: bool, face: str) -> None:
    """Print the OpenAPI 3.1 description of the REST API, ours or the one for clients of Binance."""
    # YAML would show what is used twice as anchors; JSON has none.
    text = json.dumps(document() if face == "native" else describe(BINANCE_ROUTES), indent=2)
    click.echo(yaml.safe_dump(json.loads(text), sort_keys=False).rstrip() if as_yaml else text)
