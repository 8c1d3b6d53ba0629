"""How secrets are kept in tables: encrypted (AES-256-GCM), and bound to whose they are.

There may be several encryption keys: the first encrypts, all decrypt.  They are looked up anew when something cannot be
decrypted, so that another process may change them.  Who encrypts holds ``SHARED`` to the end of its transaction, which
whoever encrypts everything anew waits for with ``ALONE``: nothing is left behind under a key that goes away.
"""

import contextlib
import os
from collections.abc import Callable, Sequence
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_LOCK: Final = "hashtextextended('api_keys encryption', 0)"
SHARED: Final = f"SELECT pg_advisory_xact_lock_shared({_LOCK})"
ALONE: Final = f"SELECT pg_advisory_xact_lock({_LOCK})"
_NONCE_BYTES: Final = 12


class SecretUnreadableError(Exception):
    """A stored secret was encrypted with another key, or tampered with."""


class Sealer:
    """Encrypts and decrypts secrets.

    Args:
        keys: what the encryption keys are now, of 32 bytes each; the first encrypts.
    """

    def __init__(self, keys: Callable[[], Sequence[bytes]]) -> None:
        self._keys = keys
        self._ciphers = [AESGCM(key) for key in keys()]

    def look(self) -> None:
        """Look the keys up anew."""
        self._ciphers = [AESGCM(key) for key in self._keys()]

    def seal(self, owner: str, secret: bytes) -> bytes:
        """A secret, to be kept; ``owner`` is the id of the row that it is of."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._ciphers[0].encrypt(nonce, secret, owner.encode())

    def open(self, owner: str, sealed: bytes) -> bytes:
        """A secret in clear.

        Raises:
            SecretUnreadableError: no key decrypts it.
        """
        for again in (False, True):
            if again:
                self.look()
            for cipher in self._ciphers:
                with contextlib.suppress(InvalidTag):
                    return cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], owner.encode())
        raise SecretUnreadableError(owner)

    def anew(self, owner: str, sealed: bytes) -> bytes:
        """What was kept, under the first key.

        Raises:
            SecretUnreadableError: no key decrypts it.
        """
        return self.seal(owner, self.open(owner, sealed))
