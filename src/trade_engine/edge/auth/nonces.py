"""Which nonces were used: each passes once within the longest window, and the memory is bounded.

When the memory is full of nonces that still count, requests are refused; a replay is never let through instead.
"""

from collections import deque
from typing import Final

from trade_engine.domain.errors import Unavailable
from trade_engine.edge.problems import RateLimited, Unauthorized

#: The longest receive window and the second that a timestamp may be ahead, with room to spare.
REMEMBERED_MS: Final = 62_000


class Nonces:
    """Remembers the nonces of all keys."""

    def __init__(self, most: int = 200_000, most_of_a_key: int = 10_000) -> None:
        self._most = most
        self._most_of_a_key = most_of_a_key
        self._used: set[tuple[str, str]] = set()
        self._order: deque[tuple[int, tuple[str, str]]] = deque()
        self._of_key: dict[str, int] = {}

    def take(self, key_id: str, nonce: str, now_ms: int) -> None:
        """Use a nonce.

        Raises:
            Unauthorized: NONCE_REUSED.
            RateLimited: the key has too many that still count.
            Unavailable: NONCE_MEMORY_FULL.
        """
        while self._order and self._order[0][0] <= now_ms:
            self._forget()
        pair = (key_id, nonce)
        if pair in self._used:
            raise Unauthorized("NONCE_REUSED", "the nonce was used before", field="x-api-nonce")
        count = self._of_key.get(key_id, 0)
        if count >= self._most_of_a_key:
            raise RateLimited(1.0)
        if len(self._used) >= self._most:
            raise Unavailable("NONCE_MEMORY_FULL", "too many signed requests within a minute; nothing was done")
        self._used.add(pair)
        self._order.append((now_ms + REMEMBERED_MS, pair))
        self._of_key[key_id] = count + 1

    def _forget(self) -> None:
        _, pair = self._order.popleft()
        self._used.discard(pair)
        left = self._of_key[pair[0]] - 1
        if left:
            self._of_key[pair[0]] = left
        else:
            del self._of_key[pair[0]]
