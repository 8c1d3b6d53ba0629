"""`trade-engine token`: a bearer token for development."""

from pathlib import Path

import click

from trade_engine.api.auth.tokens import issue_token
from trade_engine.bootstrap import jwt_secret
from trade_engine.cli.options import config_option, configure, data_dir_option, explained, json_option, user_id_of
from trade_engine.cli.output import show


@click.command()
@click.argument("user")
@click.option("--role", "roles", multiple=True, default=("trader",), show_default=True, help="Roles in the token.")
@click.option("--ttl", default=86_400, show_default=True, help="Seconds until it expires.")
@click.option("--institution", help="Institution id in the token.")
@data_dir_option
@config_option
@json_option
def token(
    user: str,
    roles: tuple[str, ...],
    ttl: int,
    institution: str | None,
    data_dir: Path,
    config_file: Path | None,
    *,
    as_json: bool,
) -> None:
    """Print a token for USER (a UUID, or a demo name such as alice) that the engine on DATA_DIR accepts."""
    with explained():
        config = configure(config_file)
        issued = issue_token(
            jwt_secret(config, data_dir),
            user_id_of(user),
            roles,
            ttl,
            issuer=config.auth.jwt_issuer,
            audience=config.auth.jwt_audience,
            institution_id=institution,
        )
    if as_json:
        show({"token": issued, "user_id": user_id_of(user), "expires_in": ttl}, as_json=True)
    else:
        click.echo(issued)
