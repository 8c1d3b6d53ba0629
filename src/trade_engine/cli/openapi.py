"""`trade-engine openapi`."""

import json

import click
import yaml

from trade_engine.edge.rest.openapi.document import document


@click.command()
@click.option("--yaml", "as_yaml", is_flag=True, help="As YAML, not JSON.")
def openapi(*, as_yaml: bool) -> None:
    """Print the OpenAPI 3.1 description of the REST API."""
    # YAML would show what is used twice as anchors; JSON has none.
    text = json.dumps(document(), indent=2)
    click.echo(yaml.safe_dump(json.loads(text), sort_keys=False).rstrip() if as_yaml else text)
