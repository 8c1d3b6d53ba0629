"""What commands that ask a running server share: where it is, who asks, and how answers and errors are shown.

These commands know the engine only by its API; they work from any machine.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import wraps
from typing import Any, Final, TypeVar

import click
import msgspec

from trade_engine.cli.options import json_option
from trade_engine.client import DEFAULT_URL, ApiError, AsyncClient, Client, ClientError, Order, Retry
from trade_engine.client.address import server_address

R = TypeVar("R")

#: Somebody is waiting at a terminal.
_PATIENCE: Final = Retry(deadline_s=5.0)


@dataclass(frozen=True)
class Server:
    """A running engine, and who is asking it."""

    url: str
    token: str | None
    api_key: str | None
    api_secret: str | None

    def client(self) -> Client:
        """A client of it."""
        return Client(self.url, token=self.token, api_key=self.api_key, api_secret=self.api_secret, retry=_PATIENCE)

    def async_client(self) -> AsyncClient:
        """A client of it with streams."""
        return AsyncClient(
            self.url, token=self.token, api_key=self.api_key, api_secret=self.api_secret, retry=_PATIENCE
        )


def asks_a_server(command: Callable[..., R]) -> Callable[..., R]:
    """Give a command the options of a connection, and one line for each error."""

    @json_option
    @click.option("--api-secret", envvar="TRADE_ENGINE_API_SECRET", help="Its secret.")
    @click.option("--api-key", envvar="TRADE_ENGINE_API_KEY", help="API key, instead of a token.")
    @click.option("--token", envvar="TRADE_ENGINE_TOKEN", help="Bearer token, as `trade-engine token` prints it.")
    @click.option("--url", envvar="TRADE_ENGINE_URL", default=DEFAULT_URL, show_default=True, help="The REST API.")
    @wraps(command)
    def run(url: str, token: str | None, api_key: str | None, api_secret: str | None, **given: Any) -> R:
        if (api_key is None) != (api_secret is None):
            raise click.UsageError("--api-key and --api-secret belong together")
        if token is not None and api_key is not None:
            raise click.UsageError("give --token or --api-key, not both")
        try:
            server_address(url)
        except ValueError as error:
            raise click.UsageError(f"--url: {error}") from error
        try:
            return command(Server(url, token, api_key, api_secret), **given)
        except ApiError as error:
            raise click.ClickException(f"{error}{_in_the_commands_words(error.details)}") from error
        except ClientError as error:
            raise click.ClickException(str(error) or type(error).__name__) from error

    return run


def _in_the_commands_words(details: dict[str, Any]) -> str:
    """What a refusal's details say: the field as the command calls it, and what was given, allowed or there."""
    rest = dict(details)
    field = rest.pop("field", None)
    command = click.get_current_context().command
    named = {parameter.name: parameter for parameter in command.params}.get(str(field))
    if isinstance(named, click.Option):
        field = named.opts[0]
    elif named is not None:
        field = named.make_metavar(click.get_current_context())
    said = [f"{name.replace('_', ' ')} {value}" for name, value in rest.items() if isinstance(value, str | int)]
    what = [*([str(field)] if field is not None else []), ", ".join(said)]
    text = ": ".join(part for part in what if part)
    return f" ({text})" if text else ""


class _Amount(click.ParamType[Decimal]):
    """A decimal number, taken exactly as written."""

    name = "amount"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Decimal:
        """Read it."""
        try:
            number = Decimal(value)
        except ArithmeticError:
            number = Decimal("NaN")
        if not number.is_finite():
            self.fail(f"{value!r} is not a decimal number", param, ctx)
        return number


AMOUNT: Final = _Amount()


def plain(value: Any) -> Any:
    """An answer of the client as JSON has it in the API: decimal texts, ISO times."""
    return _texts(msgspec.to_builtins(value, builtin_types=(Decimal,)))


def _texts(value: Any) -> Any:
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, dict):
        return {name: _texts(part) for name, part in value.items()}
    return [_texts(part) for part in value] if isinstance(value, list) else value


def say_json(value: Any) -> None:
    """Print an answer as JSON, on a line."""
    click.echo(json.dumps(plain(value)))


def amount(value: Decimal | None) -> str | None:
    """An amount for people."""
    return None if value is None else f"{value:f}"


ORDER_HEADINGS: Final = ("id", "created", "symbol", "side", "type", "price", "quantity", "filled", "status", "reason")


def order_rows(orders: Sequence[Order]) -> list[tuple[object, ...]]:
    """Orders for people."""
    return [
        (
            order.id, f"{order.created_at:%Y-%m-%d %H:%M:%S}", order.symbol, order.side, order.type,
            amount(order.price if order.price is not None else order.stop_price), amount(order.quantity),
            amount(order.filled_quantity), order.status,
            order.reason,
        )
        for order in orders
    ]  # fmt: skip
