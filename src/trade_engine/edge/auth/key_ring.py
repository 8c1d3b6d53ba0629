"""API keys as signatures are checked with them: remembered for a second, bounded, dropped when one is revoked here.

A key is read again when it is older than that, so a revocation anywhere takes effect within about a second; a database
that is away is said so, and never makes a key count as wrong or as still good.  Keys that are in use are read again
together, in one statement a few times a second, so that their requests need not wait for it.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Final, NamedTuple

import structlog

from trade_engine.domain.errors import Unavailable
from trade_engine.storage.api_keys import ApiKey, ApiKeyStore
from trade_engine.storage.errors import DATABASE_ERRORS
from trade_engine.storage.sealing import SecretUnreadableError

log = structlog.get_logger(__name__)

FRESH_S: Final = 1.0
_KEYS_MAX: Final = 10_000
_AGAIN_S: Final = 0.25
#: So many rounds of reading again make one of writing which keys were used.
_ROUNDS: Final = 20
_READ_S: Final = 2.0


class _Held(NamedTuple):
    found: tuple[ApiKey, bytes]
    read_at: float


class KeyRing:
    """Finds API keys."""

    def __init__(self, store: ApiKeyStore, clock: Callable[[], float] = time.monotonic) -> None:
        self.store = store
        self._clock = clock
        self._held: dict[str, _Held] = {}
        self._used: dict[str, int] = {}
        #: Those that were used before what is to be written now.
        self._lately: dict[str, int] = {}
        self._drops = 0

    async def find(self, key_id: str) -> tuple[ApiKey, bytes] | None:
        """A key and its secret, no older than a second.

        Raises:
            Unavailable: DATABASE_UNAVAILABLE or API_KEY_UNREADABLE.
        """
        held = self._held.get(key_id)
        now = self._clock()
        if held is not None and now - held.read_at < FRESH_S:
            return held.found
        drops = self._drops
        try:
            async with asyncio.timeout(_READ_S):
                found = await self.store.find(key_id)
        except DATABASE_ERRORS as error:
            raise Unavailable("DATABASE_UNAVAILABLE", "the database does not answer, nothing was done") from error
        except SecretUnreadableError as error:
            log.error("api_key_secret_unreadable", key_id=key_id)
            raise Unavailable("API_KEY_UNREADABLE", "the key's secret cannot be decrypted") from error
        self._held.pop(key_id, None)
        # What was read before a revocation must not outlive it; what is not there would only push out what is.
        if drops == self._drops and found is not None:
            if len(self._held) >= _KEYS_MAX:
                del self._held[next(iter(self._held))]
            self._held[key_id] = _Held(found, now)
        return found

    def knows(self, key_id: str) -> bool:
        """Whether there was such a key when it was last looked for."""
        return key_id in self._held

    def drop(self, key_id: str) -> None:
        """Forget a key: it has changed."""
        self._drops += 1
        self._held.pop(key_id, None)

    def used(self, key_id: str, at_us: int) -> None:
        """Note that a key was used; written later."""
        self._used[key_id] = at_us

    async def keep_running(self) -> None:
        """Keep the keys that are in use fresh, and write now and then which they were; never ends."""
        rounds = 0
        try:
            while True:
                await asyncio.sleep(_AGAIN_S)
                await self.read_again()
                rounds += 1
                if rounds % _ROUNDS == 0:
                    await self._flush()
        finally:
            await self._flush()

    async def read_again(self) -> None:
        """Read all keys that were used lately; if the database is away, whoever needs one is told so."""
        key_ids = [key_id for key_id in self._used.keys() | self._lately.keys() if key_id in self._held]
        if not key_ids:
            return
        drops, now = self._drops, self._clock()
        try:
            async with asyncio.timeout(_READ_S):
                found = await self.store.look_again(key_ids)
        except DATABASE_ERRORS:
            return
        if drops != self._drops:
            return
        for key_id in key_ids:
            held = self._held.get(key_id)
            if held is None or held.read_at >= now:
                continue
            if key_id in found:
                self._held[key_id] = _Held((found[key_id], held.found[1]), now)
            else:
                del self._held[key_id]

    async def _flush(self) -> None:
        used, self._used = self._used, {}
        self._lately = used
        if not used:
            return
        with contextlib.suppress(*DATABASE_ERRORS):
            async with asyncio.timeout(_READ_S):
                await self.store.note_used(used)
