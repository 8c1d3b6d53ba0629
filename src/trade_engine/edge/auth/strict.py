"""Reads a token's parts without trusting them, stricter than libraries do.

One token has one spelling: base64 with stray trailing bits, a claim that comes twice, NaN, or a header that asks to be
checked in its own way (a key or a URL inside it, ``crit``) is refused before any signature is looked at.
"""

import base64
import json
import re
from typing import Any, Final

_SEGMENT: Final = rb"(?:[A-Za-z0-9_-]{4})*(?:[A-Za-z0-9_-][AQgw]|[A-Za-z0-9_-]{2}[AEIMQUYcgkosw048])?"
_TOKEN: Final = re.compile(rb"(%b)\.(%b)\.(%b)" % ((_SEGMENT,) * 3))
#: Each would let a token say how it wants to be checked.
_REFUSED_HEADERS: Final = frozenset({"jwk", "jku", "x5u", "x5c", "crit", "b64", "zip", "enc", "cty"})
_TYPES: Final = frozenset({"jwt", "at+jwt", "application/at+jwt"})
_KEY_ID_MAX: Final = 200


def read_strictly(token: bytes) -> tuple[str | None, dict[str, Any]]:
    """The key id and the claims that a token states; nothing about them is verified.

    Raises:
        ValueError: the token is not one, or not in its one canonical spelling.
    """
    parts = _TOKEN.fullmatch(token)
    if parts is None or not all(parts.groups()):
        raise ValueError("not three canonical base64url segments")
    header, claims = _object(parts[1]), _object(parts[2])
    if not _REFUSED_HEADERS.isdisjoint(header):
        raise ValueError("the header asks to be checked in its own way")
    kind = header.get("typ", "JWT")
    if not isinstance(header.get("alg"), str) or not isinstance(kind, str) or kind.lower() not in _TYPES:
        raise ValueError("the header is wrong")
    key_id = header.get("kid")
    if key_id is not None and not (isinstance(key_id, str) and len(key_id) <= _KEY_ID_MAX and key_id.isprintable()):
        raise ValueError("the key id is wrong")
    return key_id, claims


def _object(segment: bytes) -> dict[str, Any]:
    text = base64.urlsafe_b64decode(segment + b"=" * (-len(segment) % 4)).decode()
    try:
        value = json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)
    except RecursionError as error:
        raise ValueError("nested too deep") from error
    if not isinstance(value, dict):
        raise ValueError("not an object")  # noqa: TRY004 - one kind for all that is malformed
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name comes twice")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number")
