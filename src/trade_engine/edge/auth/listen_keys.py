"""Listen keys: whoever holds one may read its owner's stream for an hour, and nothing else.

They live in this process: after a restart their owners make new ones.  They are secrets, and never logged.
"""

import secrets
import time
from collections.abc import Callable
from typing import Final, NamedTuple

from trade_engine.edge.auth.tokens import Principal

LIFE_S: Final = 3_600.0
_BYTES: Final = 48
#: Beyond so many the one made first is forgotten.
_MOST: Final = 100_000


class _Lent(NamedTuple):
    owner: Principal
    ends_s: float


class ListenKeys:
    """Makes and finds them; one of each API key.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._held: dict[str, _Lent] = {}
        self._by_owner: dict[str, str] = {}

    def __len__(self) -> int:
        """How many there are, ended ones included."""
        return len(self._held)

    def make(self, owner: Principal) -> str:
        """The owner's listen key, which lives for an hour from now on."""
        known = self._by_owner.get(str(owner.key_id))
        if known is not None and self.extend(known, owner):
            return known
        if len(self._held) >= _MOST:
            self._forget(next(iter(self._held)))
        made = secrets.token_hex(_BYTES)[:64]
        self._held[made] = _Lent(owner, self._clock() + LIFE_S)
        self._by_owner[str(owner.key_id)] = made
        return made

    def extend(self, listen_key: str, owner: Principal) -> bool:
        """Let it live for an hour from now on; False if the owner has no such key."""
        if not self._is_of(listen_key, owner):
            return False
        self._held[listen_key] = _Lent(owner, self._clock() + LIFE_S)
        return True

    def end(self, listen_key: str, owner: Principal) -> bool:
        """Forget it; False if the owner has no such key."""
        if not self._is_of(listen_key, owner):
            return False
        self._forget(listen_key)
        return True

    def owner_of(self, listen_key: str) -> Principal | None:
        """Whose stream it opens; None if there is no such key, or its hour is over."""
        held = self._held.get(listen_key)
        if held is None:
            return None
        if held.ends_s <= self._clock():
            self._forget(listen_key)
            return None
        return held.owner

    def _is_of(self, listen_key: str, owner: Principal) -> bool:
        found = self.owner_of(listen_key)
        return found is not None and found.key_id == owner.key_id

    def _forget(self, listen_key: str) -> None:
        owner = self._held.pop(listen_key).owner
        self._by_owner.pop(str(owner.key_id), None)
