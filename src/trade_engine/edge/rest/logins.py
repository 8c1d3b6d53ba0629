"""Where our REST requests bring their login: ``Authorization: Bearer``, or the headers of an API key."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from trade_engine.domain.errors import InvalidRequest
from trade_engine.edge.auth.authenticator import Signature, signed_text
from trade_engine.edge.auth.tokens import Principal
from trade_engine.edge.caller import Callers

API_KEY_HEADERS: Final = ("X-API-Key", "X-API-Timestamp", "X-API-Nonce", "X-API-Signature", "X-API-Recv-Window")
_NAMES: Final = frozenset(name.lower().encode() for name in API_KEY_HEADERS)

Headers = Iterable[tuple[bytes, bytes]]


class HeaderLogins:
    """Reads logins out of headers."""

    def __init__(self, callers: Callers) -> None:
        self._callers = callers

    def is_strange(self, headers: Headers) -> bool:
        """Whether a request brings a login that is not known to be good."""
        bearer, key_id = _brought(headers)
        if key_id is not None:
            return not self._callers.knows_key(key_id.decode("latin-1"))
        return bool(bearer) and not self._callers.knows_token(bearer)

    async def read(
        self, headers: Headers, method: str, target: bytes, address: str, body: Callable[[], Awaitable[bytes]]
    ) -> tuple[Principal | None, bytes | None]:
        """Who a request speaks for, None if it does not say; and its body, if that had to be read because it is signed.

        Raises:
            Unauthorized, Forbidden, InvalidRequest, Unavailable: the login is not good, or cannot be checked.
        """
        bearer, key_id = _brought(headers)
        if key_id is None:
            return (self._callers.by_token(bearer) if bearer else None), None
        given = _signature(headers)
        self._callers.check_time(str(given.timestamp), given.recv_window)
        content = await body()
        signed = signed_text(str(given.timestamp), given.nonce, method, target.decode("latin-1"), content)
        return await self._callers.by_signature(given, signed, address), content


def _brought(headers: Headers) -> tuple[bytes, bytes | None]:
    """The first ``Authorization``, empty if there is none, and the first API key, which makes it a signed request."""
    bearer: bytes | None = None
    key_id: bytes | None = None
    for name, value in headers:
        if bearer is None and name == b"authorization":
            bearer = value
        elif key_id is None and name == b"x-api-key":
            key_id = value
    return bearer or b"", key_id


def _signature(headers: Headers) -> Signature:
    """The headers of a signed request.

    Raises:
        InvalidRequest: INVALID_PARAMETER: one comes twice, or there is a bearer token as well.
    """
    fields: dict[str, str] = {}
    for name, value in headers:
        if name == b"authorization" or (name in _NAMES and name.decode() in fields):
            field = name.decode()
            raise InvalidRequest("INVALID_PARAMETER", "give one login: a token or an API key", field=field)
        if name in _NAMES:
            fields[name.decode()] = value.decode("latin-1")
    return Signature(
        fields.get("x-api-key", ""),
        fields.get("x-api-timestamp", ""),
        fields.get("x-api-nonce", ""),
        fields.get("x-api-signature", ""),
        fields.get("x-api-recv-window"),
    )
