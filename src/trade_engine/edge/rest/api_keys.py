"""Routes for API keys: a user's own, and everybody's for an operator.  A secret is shown once, when it is made."""

import ipaddress
import time
from typing import Annotated, Final

import msgspec

from trade_engine.domain.errors import InvalidRequest, NotFound, Unavailable
from trade_engine.domain.ids import canonical_uuid
from trade_engine.edge.auth.authenticator import KEY_ID
from trade_engine.edge.auth.key_ring import KeyRing
from trade_engine.edge.auth.public_keys import ED25519, PEM_MAX, RSA, read_public_key
from trade_engine.edge.auth.tokens import SCOPES
from trade_engine.edge.bodies import decode
from trade_engine.edge.problems import Forbidden
from trade_engine.edge.rest.audited import audited
from trade_engine.edge.rest.call import Answer, Call
from trade_engine.edge.shapes import Id, KeyId, Time, TimeText, text, words
from trade_engine.edge.times import read_time, show_time, show_time_or_none
from trade_engine.storage.api_keys import HMAC, ApiKey, Network

_CODE: Final = "INVALID_API_KEY_TERMS"
_NAME_MAX: Final = 100
_NETWORKS_MAX: Final = 50
_NAME: Final = text(r"[^\u0000-\u001f\u007f-\u00a0]*", "reporting", minLength=1, maxLength=_NAME_MAX)
Name = Annotated[str, msgspec.Meta(extra_json_schema=_NAME)]
Scope = Annotated[str, msgspec.Meta(extra_json_schema=words(sorted(SCOPES)))]
ScopeSet = Annotated[list[Scope], msgspec.Meta(extra_json_schema={"minItems": 1, "uniqueItems": True})]
PublicKeyText = Annotated[str, msgspec.Meta(extra_json_schema={"maxLength": PEM_MAX})]
AlgorithmWord = Annotated[str, msgspec.Meta(extra_json_schema=words([ED25519, HMAC, RSA]))]
Networks = Annotated[list[str], msgspec.Meta(extra_json_schema={"maxItems": _NETWORKS_MAX})]


class ApiKeyBody(msgspec.Struct, forbid_unknown_fields=True):
    """What a new key shall be good for."""

    name: Name
    scopes: ScopeSet = msgspec.field(default_factory=lambda: ["read"])
    #: Addresses and networks such as 192.0.2.0/24; empty: from anywhere.
    ip_allow_list: Networks = []
    expires_at: TimeText | None = None
    #: Of Ed25519 or RSA, as PEM: the key signs with its private one, over the face that clients of Binance know.
    public_key: PublicKeyText | None = None


class ApiKeyView(msgspec.Struct):
    """An API key as answers show it: never its secret."""

    key_id: KeyId
    user_id: Id
    name: str
    scopes: ScopeSet
    ip_allow_list: list[str]
    institution_id: str | None
    algorithm: AlgorithmWord
    created_at: Time
    expires_at: Time | None
    last_used_at: Time | None
    revoked_at: Time | None


class NewApiKeyView(msgspec.Struct):
    """A new key, and its secret for the only time; with a public key it has none."""

    key: ApiKeyView
    secret: str | None


_decoder = msgspec.json.Decoder(ApiKeyBody)


async def create_key(call: Call) -> Answer:
    """Make an API key.

    Its secret is shown this once only.  A key may do no more than the token that makes it.
    """
    ring, principal = _ring(call), call.principal
    body = decode(_decoder, call.body)
    networks, expires_us = check_terms(body.name, body.scopes, body.ip_allow_list, body.expires_at)
    institution_id = principal.institution_id if principal is not None else None
    excess = set(body.scopes) - (principal.scopes if principal is not None else SCOPES)
    if excess:
        raise Forbidden("SCOPE_MISSING", "a key may do no more than the token that makes it", field="scopes")
    public_key = None if body.public_key is None else read_public_key(body.public_key)
    made = await ring.store.make(call.user_id, body.name, body.scopes, networks, expires_us, institution_id, public_key)
    return Answer(NewApiKeyView(show_key(made[0]), made[1]), status=201)


async def list_keys(call: Call) -> Answer:
    """List your API keys.

    Oldest first, the revoked and expired ones too, all without their secrets.
    """
    ring = _ring(call)
    return Answer([show_key(key) for key in await ring.store.of_user(call.user_id)])


async def revoke_key(call: Call) -> Answer:
    """Revoke an API key.

    It is refused from now on; again, the same answer.
    """
    ring = _ring(call)
    key = await ring.store.revoke(_key_id(call), call.user_id)
    ring.drop(key.key_id)
    return Answer(show_key(key))


async def admin_list_keys(call: Call) -> Answer:
    """List the API keys of a user.

    Oldest first, without their secrets.
    """
    ring = _ring(call)
    given = call.query.get("user_id", "")
    user_id = canonical_uuid(given)
    if user_id is None:
        raise InvalidRequest("INVALID_PARAMETER", "user_id must be a UUID", field="user_id", provided=given[:100])
    return Answer([show_key(key) for key in await ring.store.of_user(user_id)])


async def admin_revoke_key(call: Call) -> Answer:
    """Revoke the API key of any user.

    It is refused from now on.  Audited.
    """
    ring = _ring(call)
    reason = call.query.get("reason", "")
    key_id = _key_id(call)
    async with audited(call, "api_key.revoke", key_id, reason):
        key = await ring.store.revoke(key_id, None)
    ring.drop(key.key_id)
    return Answer(show_key(key))


def check_terms(
    name: str, scopes: list[str], ip_allow_list: list[str], expires_at: str | None
) -> tuple[list[Network], int]:
    """The networks and the expiry (microseconds since 1970; 0: never) of a key's terms.

    Raises:
        InvalidRequest: INVALID_API_KEY_TERMS.
    """
    if not 0 < len(name) <= _NAME_MAX or not name.isprintable():
        message = f"a name has 1 to {_NAME_MAX} printable characters"
        raise InvalidRequest(_CODE, message, field="name", provided=name[:100], limit=_NAME_MAX)
    if not scopes or len(set(scopes)) != len(scopes) or not SCOPES.issuperset(scopes):
        message = f"scopes must be some of {', '.join(sorted(SCOPES))}, each once"
        raise InvalidRequest(_CODE, message, field="scopes", provided=", ".join(scopes)[:100])
    if len(ip_allow_list) > _NETWORKS_MAX:
        message = f"at most {_NETWORKS_MAX} networks"
        raise InvalidRequest(_CODE, message, field="ip_allow_list", limit=_NETWORKS_MAX)
    networks: list[Network] = []
    for network in ip_allow_list:
        try:
            networks.append(ipaddress.ip_network(network))
        except ValueError as error:
            message = "ip_allow_list takes addresses and networks such as 192.0.2.0/24"
            raise InvalidRequest(_CODE, message, field="ip_allow_list", provided=network[:100]) from error
    expires_us = 0 if expires_at is None else read_time(expires_at, "expires_at", _CODE)
    if expires_us and expires_us <= time.time_ns() // 1000:
        raise InvalidRequest(_CODE, "expires_at must be in the future", field="expires_at", provided=expires_at)
    return networks, expires_us


def show_key(key: ApiKey) -> ApiKeyView:
    """A key without its secret."""
    return ApiKeyView(
        key_id=key.key_id,
        user_id=key.user_id,
        name=key.name,
        scopes=sorted(key.scopes),
        ip_allow_list=[str(network) for network in key.networks],
        institution_id=key.institution_id,
        algorithm=key.algorithm,
        created_at=show_time(key.created_us),
        expires_at=show_time_or_none(key.expires_us),
        last_used_at=show_time_or_none(key.last_used_us),
        revoked_at=show_time_or_none(key.revoked_us),
    )


def _key_id(call: Call) -> str:
    given = call.path("key_id")
    # What cannot be an id is not asked for: PostgreSQL's text has no NUL.
    if not KEY_ID.fullmatch(given):
        raise NotFound("API_KEY_NOT_FOUND", "there is no such API key", field="key_id", provided=given[:100])
    return given


def _ring(call: Call) -> KeyRing:
    ring = call.services.callers.keys
    if ring is None:
        raise Unavailable("ENGINE_UNAVAILABLE", "this server has no API keys")
    return ring
