"""Webhook endpoints as operators know them: adds, lists, pauses, rotates and removes them, and replays dead letters.

A secret leaves this module in clear only when it is made and when something is to be signed with it; in the table it is
encrypted and bound to its endpoint's id, so that one row's secret cannot be moved to another (``sealing``).
"""

import base64
import re
import secrets
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from trade_engine.domain.errors import InvalidRequest, NotFound, Refused
from trade_engine.http.destinations import Network, read_destination
from trade_engine.storage.sealing import ALONE, SHARED, Sealer, SecretUnreadableError
from trade_engine.storage.types import Pool, Record

ENDPOINTS_MAX: Final = 50
FILTERS_MAX: Final = 100
#: How long both secrets are good after a rotation, hours: by default and at most.
OVERLAP_H: Final = 24
OVERLAP_H_MAX: Final = 24 * 7
ENDPOINT_ID: Final = re.compile("whe_[0-9a-f]{32}")
EVENT_TYPE: Final = re.compile(r"(trade|order)\.[a-z_]{1,40}")
SYMBOL: Final = re.compile("[A-Z0-9]{1,15}/[A-Z0-9]{1,15}")
#: Begins every secret as it is shown; what follows is the key in base64.
_PREFIX: Final = "whsec_"
_SECRET_BYTES: Final = 32
_NAME_MAX: Final = 100
_CODE: Final = "INVALID_WEBHOOK_TERMS"

_US: Final = "(extract(epoch FROM {}) * 1000000)::BIGINT"
_COLUMNS: Final = f"""
    endpoint_id, name, url, event_types, symbols, {_US.format("created_at")} AS created_us,
    {_US.format("previous_until")} AS previous_until_us, {_US.format("paused_at")} AS paused_us, paused_why, dropped"""
_ADD: Final = f"""
    INSERT INTO webhook_endpoints (endpoint_id, name, url, event_types, symbols, secret)
    VALUES ($1, $2, $3, $4, $5, $6) RETURNING {_COLUMNS}"""
_LIST: Final = f"""
    SELECT {_COLUMNS}, secret, CASE WHEN previous_until > now() THEN previous_secret END AS previous_secret
    FROM webhook_endpoints ORDER BY created_at, endpoint_id LIMIT {ENDPOINTS_MAX}"""
_FIND: Final = f"SELECT {_COLUMNS} FROM webhook_endpoints WHERE endpoint_id = $1"
_PAUSE: Final = f"""
    UPDATE webhook_endpoints SET paused_at = coalesce(paused_at, now()), paused_why = coalesce(paused_why, $2)
    WHERE endpoint_id = $1 RETURNING {_COLUMNS}"""
_RESUME: Final = f"""
    UPDATE webhook_endpoints SET paused_at = NULL, paused_why = NULL WHERE endpoint_id = $1 RETURNING {_COLUMNS}"""
#: What waited for its next attempt begins anew.
_AT_ONCE: Final = """
    UPDATE webhook_deliveries SET attempts = 0, next_attempt_at = now()
    WHERE endpoint_id = $1 AND state = 'WAITING' AND attempts > 0"""
_ROTATE: Final = f"""
    UPDATE webhook_endpoints SET secret = $2, previous_secret = secret,
        previous_until = now() + make_interval(hours => $3)
    WHERE endpoint_id = $1 RETURNING {_COLUMNS}"""
_SEALED: Final = "SELECT endpoint_id, secret, previous_secret FROM webhook_endpoints FOR UPDATE"
_SEAL: Final = "UPDATE webhook_endpoints SET secret = $2, previous_secret = $3 WHERE endpoint_id = $1"
_REMOVE: Final = f"DELETE FROM webhook_endpoints WHERE endpoint_id = $1 RETURNING {_COLUMNS}"
_DEAD: Final = f"""
    SELECT delivery_id, message_id, event_type, symbol, attempts, last_outcome, {_US.format("queued_at")} AS queued_us,
        {_US.format("ended_at")} AS ended_us, convert_from(body, 'UTF8') AS body
    FROM webhook_deliveries WHERE endpoint_id = $1 AND state = 'DEAD' AND delivery_id > $2
    ORDER BY delivery_id LIMIT $3"""
_REPLAY: Final = """
    UPDATE webhook_deliveries SET state = 'WAITING', attempts = 0, next_attempt_at = now(), ended_at = NULL
    WHERE endpoint_id = $1 AND state = 'DEAD' AND ($2::BIGINT IS NULL OR delivery_id = $2)"""


class WebhookEndpoint(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint without its secrets; times in microseconds since 1970, None is never."""

    endpoint_id: str
    name: str
    url: str
    #: Only these; empty: all.
    event_types: frozenset[str]
    #: Only of these markets; empty: of all.
    symbols: frozenset[str]
    created_us: int
    previous_until_us: int | None
    paused_us: int | None
    paused_why: str | None
    dropped: int


class DeadWebhook(msgspec.Struct, frozen=True):
    """An event that an endpoint would not take; times in microseconds since 1970."""

    delivery_id: int
    message_id: str
    event_type: str
    symbol: str
    attempts: int
    last_outcome: str | None
    queued_us: int
    ended_us: int
    body: str


class WebhookStore:
    """Reads and writes the endpoints.

    Args:
        pool: of the engine's database.
        encryption_keys: what API keys are encrypted with now, 32 bytes each; the first encrypts.
        listed: private networks that endpoints may be in.
    """

    def __init__(
        self, pool: Pool, encryption_keys: Callable[[], Sequence[bytes]], listed: Sequence[Network] = ()
    ) -> None:
        self._pool = pool
        self._sealer = Sealer(encryption_keys)
        self._listed = listed

    async def add(
        self, url: str, name: str, event_types: Sequence[str] = (), symbols: Sequence[str] = ()
    ) -> tuple[WebhookEndpoint, str]:
        """Register an endpoint: it, and its secret, which is never shown again.

        Raises:
            Refused: TOO_MANY_WEBHOOKS.
        """
        endpoint_id, secret = f"whe_{secrets.token_hex(16)}", secrets.token_bytes(_SECRET_BYTES)
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(SHARED)
            self._sealer.look()
            sealed = self._sealer.seal(endpoint_id, secret)
            await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('webhook_endpoints', 0))")
            if await connection.fetchval("SELECT count(*) FROM webhook_endpoints") >= ENDPOINTS_MAX:
                message = f"there may be {ENDPOINTS_MAX} webhook endpoints; remove one first"
                raise Refused("TOO_MANY_WEBHOOKS", message, limit=ENDPOINTS_MAX)
            kinds, markets = sorted(set(event_types)), sorted(set(symbols))
            [row] = await connection.fetch(_ADD, endpoint_id, name, url, kinds, markets, sealed)
        return _endpoint(row), _shown(secret)

    def check(self, url: str, name: str, event_types: Sequence[str], symbols: Sequence[str]) -> None:
        """Refuse terms that no endpoint may have.

        Raises:
            InvalidRequest: INVALID_WEBHOOK_TERMS.
        """
        try:
            read_destination(url, self._listed)
        except ValueError as error:
            raise InvalidRequest(_CODE, str(error), field="url", provided=url[:100]) from error
        if not 0 < len(name) <= _NAME_MAX or not name.isprintable():
            message = f"a name has 1 to {_NAME_MAX} printable characters"
            raise InvalidRequest(_CODE, message, field="name", provided=name[:100], limit=_NAME_MAX)
        for field, given, pattern, example in (
            ("event_types", event_types, EVENT_TYPE, "trade.executed"),
            ("symbols", symbols, SYMBOL, "BTC/USDT"),
        ):
            if len(given) > FILTERS_MAX:
                raise InvalidRequest(_CODE, f"at most {FILTERS_MAX} {field}", field=field, limit=FILTERS_MAX)
            for each in given:
                if not pattern.fullmatch(each):
                    message = f"{field} are such as {example}"
                    raise InvalidRequest(_CODE, message, field=field, provided=each[:100])

    async def every(self) -> list[WebhookEndpoint]:
        """All endpoints, oldest first."""
        return [_endpoint(row) for row in await self._pool.fetch(_LIST)]

    async def keys(self) -> list[tuple[WebhookEndpoint, list[bytes]]]:
        """All endpoints with the secrets that are good now, the newest first; none: they cannot be read."""
        found = []
        for row in await self._pool.fetch(_LIST):
            sealed = [each for each in (row["secret"], row["previous_secret"]) if each is not None]
            try:
                keys = [self._sealer.open(row["endpoint_id"], each) for each in sealed]
            except SecretUnreadableError:
                keys = []
            found.append((_endpoint(row), keys))
        return found

    async def pause(self, endpoint_id: str, why: str) -> WebhookEndpoint:
        """Send it nothing more for now; what comes waits.  Again is no error.

        Raises:
            NotFound: WEBHOOK_NOT_FOUND.
        """
        return _found(await self._pool.fetchrow(_PAUSE, endpoint_id, why), endpoint_id)

    async def resume(self, endpoint_id: str) -> WebhookEndpoint:
        """Send again, from where it stopped, with all attempts; again is no error.

        Raises:
            NotFound: WEBHOOK_NOT_FOUND.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            resumed = _found(await connection.fetchrow(_RESUME, endpoint_id), endpoint_id)
            await connection.execute(_AT_ONCE, endpoint_id)
        return resumed

    async def rotate(self, endpoint_id: str, overlap_h: int = OVERLAP_H) -> tuple[WebhookEndpoint, str]:
        """Give it another secret, which is shown this once; for some hours both sign.

        Raises:
            NotFound: WEBHOOK_NOT_FOUND.
            InvalidRequest: INVALID_WEBHOOK_TERMS.
        """
        if not 0 <= overlap_h <= OVERLAP_H_MAX:
            message = f"both secrets are good for 0 to {OVERLAP_H_MAX} hours"
            raise InvalidRequest(
                _CODE, message, field="overlap_hours", provided=str(overlap_h)[:100], limit=OVERLAP_H_MAX
            )
        secret = secrets.token_bytes(_SECRET_BYTES)
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(SHARED)
            self._sealer.look()
            row = await connection.fetchrow(_ROTATE, endpoint_id, self._sealer.seal(endpoint_id, secret), overlap_h)
        return _found(row, endpoint_id), _shown(secret)

    async def encrypt_anew(self) -> int:
        """Encrypt every secret with the first key, so that the others are needed no more; how many endpoints there are.

        Raises:
            SecretUnreadableError: one of them cannot be decrypted with any key; nothing was changed.
        """
        async with self._pool.acquire() as connection, connection.transaction():
            await connection.execute(ALONE)
            self._sealer.look()
            rows = await connection.fetch(_SEALED)
            for row in rows:
                endpoint_id = row["endpoint_id"]
                sealed = (row["secret"], row["previous_secret"])
                anew = [None if each is None else self._sealer.anew(endpoint_id, each) for each in sealed]
                await connection.execute(_SEAL, endpoint_id, *anew)
        return len(rows)

    async def remove(self, endpoint_id: str) -> WebhookEndpoint:
        """Forget an endpoint, and all that waits for it.

        Raises:
            NotFound: WEBHOOK_NOT_FOUND.
        """
        return _found(await self._pool.fetchrow(_REMOVE, endpoint_id), endpoint_id)

    async def dead(self, endpoint_id: str, after_id: int = 0, limit: int = 100) -> list[DeadWebhook]:
        """The next dead letters of an endpoint, oldest first.

        Raises:
            NotFound: WEBHOOK_NOT_FOUND.
        """
        rows = await self._pool.fetch(_DEAD, endpoint_id, after_id, limit)
        if not rows:
            _found(await self._pool.fetchrow(_FIND, endpoint_id), endpoint_id)
        return [DeadWebhook(*row) for row in rows]

    async def replay(self, endpoint_id: str, delivery_id: int | None = None) -> int:
        """Give dead letters, all or one, their attempts back; how many.

        Raises:
            NotFound: DEAD_LETTER_NOT_FOUND: it has none, or not that one.
        """
        done = int((await self._pool.execute(_REPLAY, endpoint_id, delivery_id)).rpartition(" ")[2])
        if not done:
            raise NotFound(
                "DEAD_LETTER_NOT_FOUND", "the endpoint has no such dead letter", field="endpoint_id",
                provided=endpoint_id[:100],
            )  # fmt: skip
        return done


def _shown(secret: bytes) -> str:
    return _PREFIX + base64.b64encode(secret).decode()


def _found(row: Record | None, endpoint_id: str) -> WebhookEndpoint:
    if row is None:
        raise NotFound(
            "WEBHOOK_NOT_FOUND", "there is no such webhook endpoint", field="endpoint_id", provided=endpoint_id[:100]
        )
    return _endpoint(row)


def _endpoint(row: Record) -> WebhookEndpoint:
    return WebhookEndpoint(
        endpoint_id=row["endpoint_id"],
        name=row["name"],
        url=row["url"],
        event_types=frozenset(row["event_types"]),
        symbols=frozenset(row["symbols"]),
        created_us=row["created_us"],
        previous_until_us=row["previous_until_us"],
        paused_us=row["paused_us"],
        paused_why=row["paused_why"],
        dropped=row["dropped"],
    )
