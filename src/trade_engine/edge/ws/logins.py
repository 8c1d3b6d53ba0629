"""Where WebSocket clients bring their login: with the handshake, or in an ``auth`` command."""

from websockets.datastructures import Headers

from trade_engine.domain.errors import InvalidRequest
from trade_engine.edge.auth.authenticator import Signature, signed_text
from trade_engine.edge.auth.tokens import Principal
from trade_engine.edge.caller import Callers
from trade_engine.edge.problems import Unauthorized
from trade_engine.edge.ws.commands import Auth


def login_of(callers: Callers, headers: Headers, tokens: list[str]) -> Principal | None:
    """Who a handshake speaks for; None if it brings no token.

    Raises:
        Unauthorized: the token is not good.
    """
    given = headers.get_all("Authorization")
    if not given and not tokens:
        return None
    if len(given) + len(tokens) > 1:
        raise Unauthorized("UNAUTHORIZED", "give one token")
    return callers.by_token(given[0].encode(errors="replace") if given else _bearer(tokens[0]))


def is_strange(callers: Callers, command: Auth) -> bool:
    """Whether a command brings a login that is not known to be good: it is counted before it is looked at."""
    if command.token is not None:
        return not callers.knows_token(_bearer(command.token))
    return not callers.knows_key(command.api_key or "")


async def login(callers: Callers, command: Auth, client: str) -> Principal:
    """Who an ``auth`` command speaks for.

    Raises:
        Unauthorized, Forbidden: the token or the signature is not good; InvalidRequest: give one of them.
    """
    if (command.token is None) == (command.api_key is None):
        raise InvalidRequest("MISSING_FIELD", "give token, or api_key with its signature", field="token")
    if command.token is not None:
        return callers.by_token(_bearer(command.token))
    given = Signature(
        command.api_key or "", command.timestamp or "", command.nonce or "", command.signature or "",
        command.recv_window,
    )  # fmt: skip
    return await callers.by_signature(given, signed_text(str(given.timestamp), given.nonce, "GET", "/ws", b""), client)


def _bearer(token: str) -> bytes:
    return b"Bearer " + token.encode(errors="replace")
