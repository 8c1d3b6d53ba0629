"""The table of API keys: makes, lists, finds and revokes them.

A secret leaves this module in clear only when it is made and when a signature is to be checked; in the table it is
encrypted and bound to its key's id, so that one row's secret cannot be moved to another (``sealing``).
"""

import secrets
from collections.abc import Callable, Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network
from typing import Final

import msgspec

from trade_engine.domain.errors import NotFound, Refused
from trade_engine.storage.sealing import ALONE, SHARED, Sealer
from trade_engine.storage.types import AnyConnection, Pool, Record

KEYS_PER_USER: Final = 50
#: How keys with a secret sign.
HMAC: Final = "HMAC-SHA256"
Network = IPv4Network | IPv6Network

_COLUMNS: Final = """
    key_id, user_id::TEXT, institution_id, name, scopes, ip_allow_list, algorithm,
    (extract(epoch FROM created_at) * 1000000)::BIGINT AS created_us,
    coalesce((extract(epoch FROM expires_at) * 1000000)::BIGINT, 0) AS expires_us,
    coalesce((extract(epoch FROM last_used_at) * 1000000)::BIGINT, 0) AS last_used_us,
    coalesce((extract(epoch FROM revoked_at) * 1000000)::BIGINT, 0) AS revoked_us"""
_MAKE: Final = f"""
    INSERT INTO api_keys (
        key_id, user_id, institution_id, name, scopes, ip_allow_list, secret, expires_at, algorithm, public_key)
    VALUES ($1, $2, $3, $4, $5, $6, $7, at_us($8), $9, $10) RETURNING {_COLUMNS}"""
_LIST: Final = f"SELECT {_COLUMNS} FROM api_keys WHERE user_id = $1 ORDER BY created_at, key_id LIMIT 1000"
_FIND: Final = f"SELECT {_COLUMNS}, secret, public_key FROM api_keys WHERE key_id = $1"
_AGAIN: Final = f"SELECT {_COLUMNS} FROM api_keys WHERE key_id = ANY($1)"
_COUNT: Final = """
    SELECT count(*) FROM api_keys WHERE user_id = $1 AND revoked_at IS NULL
    AND (expires_at IS NULL OR expires_at > now())"""
_REVOKE: Final = f"""
    UPDATE api_keys SET revoked_at = coalesce(revoked_at, now())
    WHERE key_id = $1 AND ($2::UUID IS NULL OR user_id = $2) RETURNING {_COLUMNS}"""
_SEALED: Final = """
    SELECT key_id, secret FROM api_keys WHERE key_id > $1 AND secret IS NOT NULL
    ORDER BY key_id LIMIT 1000 FOR UPDATE"""
_SEAL: Final = """
    UPDATE api_keys SET secret = anew.secret
    FROM unnest($1::TEXT[], $2::BYTEA[]) AS anew (id, secret) WHERE key_id = anew.id"""
_USED: Final = """
    UPDATE api_keys SET last_used_at = greatest(last_used_at, at_us(used.at))
    FROM unnest($1::TEXT[], $2::BIGINT[]) AS used (id, at) WHERE key_id = used.id"""


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """An API key without its secret; times in microseconds since 1970, 0 is never."""

    key_id: str
    user_id: str
    institution_id: str | None
    name: str
    scopes: frozenset[str]
    networks: tuple[Network, ...]
    #: How it signs: HMAC-SHA256 by its secret, or with a private key that only its owner has.
    algorithm: str
    created_us: int
    expires_us: int
    last_used_us: int
    revoked_us: int


class ApiKeyStore:
    """Reads and writes the table.

    Args:
        encryption_keys: what they are now, of 32 bytes each; the first encrypts.
    """

    def __init__(self, pool: Pool, encryption_keys: Callable[[], Sequence[bytes]]) -> None:
        self._pool = pool
        self._sealer = Sealer(encryption_keys)

    async def make(
        self,
        user_id: str,
        name: str,
        scopes: Sequence[str],
        networks: Sequence[Network] = (),
        expires_us: int = 0,
        institution_id: str | None = None,
        public_key: tuple[str, bytes] | None = None,
    ) -> tuple[ApiKey, str | None]:
        """Make a key: it, and its secret, which is never shown again; with a public key (algorithm, DER) it has none.

        Raises:
            Refused: TOO_MANY_API_KEYS.
        """
        key_id, secret, sealed = f"tek_{secrets.token_hex(16)}", None, None
        algorithm, der = public_key or (HMAC, None)
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(SHARED)
            self._sealer.look()
            if public_key is None:
                secret = secrets.token_hex(32)
                sealed = self._sealer.seal(key_id, secret.encode())
            await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('api_keys ' || $1, 0))", user_id)
            if await connection.fetchval(_COUNT, user_id) >= KEYS_PER_USER:
                message = f"a user may have {KEYS_PER_USER} API keys; revoke one first"
                raise Refused("TOO_MANY_API_KEYS", message, limit=KEYS_PER_USER)
            [row] = await connection.fetch(
                _MAKE, key_id, user_id, institution_id, name, sorted(set(scopes)), list(networks), sealed, expires_us,
                algorithm, der,
            )  # fmt: skip
        return _key(row), secret

    async def of_user(self, user_id: str) -> list[ApiKey]:
        """A user's keys, revoked ones too, oldest first."""
        return [_key(row) for row in await self._pool.fetch(_LIST, user_id)]

    async def find(self, key_id: str) -> tuple[ApiKey, bytes] | None:
        """A key and its secret, or its public key as DER.

        Raises:
            SecretUnreadableError: the secret cannot be decrypted.
        """
        row = await self._pool.fetchrow(_FIND, key_id)
        if row is None:
            return None
        if row["public_key"] is not None:
            return _key(row), row["public_key"]
        return _key(row), self._sealer.open(key_id, row["secret"])

    async def look_again(self, key_ids: Sequence[str]) -> dict[str, ApiKey]:
        """Keys as they are now, by id; what they sign with never changes."""
        return {row["key_id"]: _key(row) for row in await self._pool.fetch(_AGAIN, key_ids)}

    async def encrypt_anew(self) -> int:
        """Encrypt every secret with the first key, so that the others are needed no more; how many there were.

        Raises:
            SecretUnreadableError: one of them cannot be decrypted with any key; nothing was changed.
        """
        done, last = 0, ""
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(ALONE)
            self._sealer.look()
            while rows := await connection.fetch(_SEALED, last):
                last = rows[-1]["key_id"]
                anew = [
                    self._sealer.seal(row["key_id"], self._sealer.open(row["key_id"], row["secret"])) for row in rows
                ]
                await connection.execute(_SEAL, [row["key_id"] for row in rows], anew)
                done += len(rows)
        return done

    async def revoke(self, key_id: str, user_id: str | None, connection: AnyConnection | None = None) -> ApiKey:
        """Revoke a key, of that user if one is given; again is no error.

        Raises:
            NotFound: API_KEY_NOT_FOUND.
        """
        row = await (connection or self._pool).fetchrow(_REVOKE, key_id, user_id)
        if row is None:
            raise NotFound("API_KEY_NOT_FOUND", "there is no such API key", field="key_id", provided=key_id[:100])
        return _key(row)

    async def note_used(self, used: Mapping[str, int]) -> None:
        """Write when keys were last used (microseconds since 1970)."""
        await self._pool.execute(_USED, list(used), list(used.values()))


def _key(row: Record) -> ApiKey:
    return ApiKey(
        key_id=row["key_id"],
        user_id=row["user_id"],
        institution_id=row["institution_id"],
        name=row["name"],
        scopes=frozenset(row["scopes"]),
        networks=tuple(row["ip_allow_list"]),
        algorithm=row["algorithm"],
        created_us=row["created_us"],
        expires_us=row["expires_us"],
        last_used_us=row["last_used_us"],
        revoked_us=row["revoked_us"],
    )
