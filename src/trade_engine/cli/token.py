"""`trade-engine token`: a bearer token for development."""

from pathlib import Path
from typing import Any

import click

from trade_engine.bootstrap.keys import jwt_secret
from trade_engine.cli.options import config_option, configure, data_dir_option, explained, json_option
from trade_engine.cli.output import show
from trade_engine.demo.users import user_id_of
from trade_engine.edge.auth.tokens import ALGORITHMS, ROLES, TRADER, issue_token


@click.command()
@click.argument("user")
@click.option(
    "--role",
    "roles",
    type=click.Choice(sorted(ROLES)),
    multiple=True,
    default=(TRADER,),
    show_default=True,
    help="Roles in the token.",
)
@click.option("--ttl", default=86_400, show_default=True, help="Seconds until it expires.")
@click.option("--institution", help="Institution id in the token.")
@click.option("--algorithm", type=click.Choice(sorted(ALGORITHMS)), default="HS256", show_default=True)
@click.option(
    "--private-key-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="PEM file to sign with; needed for RS256 and EdDSA.",
)
@click.option("--key-id", help="kid in the token's header: which key of the key set verifies it.")
@data_dir_option
@config_option
@json_option
def token(
    user: str,
    roles: tuple[str, ...],
    ttl: int,
    institution: str | None,
    algorithm: str,
    private_key_file: Path | None,
    key_id: str | None,
    data_dir: Path,
    config_file: Path | None,
    *,
    as_json: bool,
) -> None:
    """Print a token for USER (a UUID, or a demo name such as alice) that the engine on DATA_DIR accepts."""
    if (private_key_file is None) != (algorithm == "HS256"):
        raise click.UsageError("--private-key-file goes with --algorithm RS256 or EdDSA, and they need it")
    with explained():
        config = configure(config_file)
        key = jwt_secret(config, data_dir) if private_key_file is None else private_key_file.read_text()
        issued = _issue(
            key,
            user_id_of(user),
            roles,
            ttl,
            issuer=config.auth.jwt_issuer,
            audience=config.auth.jwt_audience,
            institution_id=institution,
            key_id=key_id,
            algorithm=algorithm,
        )
    if as_json:
        show({"token": issued, "user_id": user_id_of(user), "expires_in": ttl}, as_json=True)
    else:
        click.echo(issued)


def _issue(*terms: Any, **more: Any) -> str:
    try:
        return issue_token(*terms, **more)
    except ValueError as error:
        raise click.ClickException(str(error)) from error
