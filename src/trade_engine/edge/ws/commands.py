"""Commands of a WebSocket client as JSON: what may come in (docs/trader/websocket.md)."""

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from trade_engine.domain.errors import InvalidRequest

CommandId = Annotated[str, Meta(max_length=100)] | Annotated[int, Meta(ge=-(2**53), le=2**53)] | None


class SocketCommand(msgspec.Struct, forbid_unknown_fields=True, tag_field="op", kw_only=True):
    """Base of all commands; ``id`` is the client's own and comes back in the answer."""

    id: CommandId = None


class Ping(SocketCommand, tag="ping"):
    """Is the server there?"""


class Auth(SocketCommand, tag="auth"):
    """Log in, by token or by a signature with an API key; or carry a login on."""

    token: str | None = None
    api_key: str | None = None
    timestamp: int | None = None
    nonce: str | None = None
    signature: str | None = None
    recv_window: int | None = None


class Subscribe(SocketCommand, tag="subscribe"):
    """Have a channel: a snapshot, then updates."""

    channel: str
    symbol: str | None = None
    interval: str | None = None
    levels: int | None = None
    #: Updates of ``depth``, ``book`` and ``trades`` are so far apart at least, in milliseconds.
    pause_ms: int | None = None


class Unsubscribe(Subscribe, tag="unsubscribe"):
    """Have a channel no longer."""


class Place(SocketCommand, tag="place"):
    """Place an order: the body of POST /orders."""

    order: msgspec.Raw


class Cancel(SocketCommand, tag="cancel"):
    """Cancel an order."""

    order_id: str


class Amend(SocketCommand, tag="amend"):
    """Change an order: the body of PATCH /orders/{order_id}."""

    order_id: str
    change: msgspec.Raw


class CancelAll(SocketCommand, tag="cancel_all"):
    """Cancel all orders of the caller, in one market or all."""

    symbol: str | None = None


class CancelOnDisconnect(SocketCommand, tag="cancel_on_disconnect"):
    """Whether the orders placed over this connection end with it."""

    enabled: bool


COMMANDS: Final = (
    Ping, Auth, Subscribe, Unsubscribe, Place, Cancel, Amend, CancelAll, CancelOnDisconnect,
)  # fmt: skip
_FIELDS: Final = {str(kind.__struct_config__.tag): kind.__struct_fields__ for kind in COMMANDS}
OPS: Final = tuple(_FIELDS)


class _Head(msgspec.Struct):
    """What can be told of a command that cannot be read otherwise."""

    op: Any = None
    id: Any = None


_decoder: msgspec.json.Decoder[SocketCommand] = msgspec.json.Decoder(
    Ping | Auth | Subscribe | Unsubscribe | Place | Cancel | Amend | CancelAll | CancelOnDisconnect
)
_decode_head = msgspec.json.Decoder(_Head).decode


class UnreadableCommand(Exception):
    """A message is no command; ``op`` and ``command_id`` as far as they can be told."""

    def __init__(self, op: str | None, command_id: str | int | None, error: InvalidRequest) -> None:
        super().__init__(error.message)
        self.op = op
        self.command_id = command_id
        self.error = error


def read_command(message: bytes) -> SocketCommand:
    """The command of a message.

    Raises:
        UnreadableCommand: with INVALID_JSON, INVALID_BODY, UNKNOWN_COMMAND, UNKNOWN_FIELD or MISSING_FIELD.
    """
    try:
        return _decoder.decode(message)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise _explain(message, str(error)) from error


def _explain(message: bytes, why: str) -> UnreadableCommand:
    try:
        head = _decode_head(message)
    except msgspec.ValidationError:
        return UnreadableCommand(None, None, InvalidRequest("INVALID_BODY", "a command is a JSON object"))
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return UnreadableCommand(None, None, InvalidRequest("INVALID_JSON", f"the message is not JSON: {why}"))
    op = head.op if isinstance(head.op, str) and head.op in OPS else None
    named = head.id if isinstance(head.id, str | int) and not isinstance(head.id, bool) else None
    if isinstance(named, str) and len(named) > 100:
        named = None
    what, _, path = why.partition(" - at `$")
    field = path.strip("`.").split(".")[0].split("[")[0] or what.partition("`")[2].rstrip("`")
    if op is None:
        provided = str(head.op)[:100] if head.op is not None else None
        error = InvalidRequest(
            "UNKNOWN_COMMAND", f"op must be one of {', '.join(OPS)}", field="op", provided=provided
        )  # fmt: skip
    elif "unknown field" in why:
        hint = f"there is no field {field[:100]}: {op} takes {', '.join(_FIELDS[op])}"
        error = InvalidRequest("UNKNOWN_FIELD", hint, field=field[:100])
    elif "missing required field" in why:
        error = InvalidRequest("MISSING_FIELD", f"the field {field} is missing", field=field)
    else:
        error = InvalidRequest("INVALID_BODY", f"{field}: {what}", field=field)
    return UnreadableCommand(op, named, error)
