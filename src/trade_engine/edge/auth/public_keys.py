"""Public keys that customers register, and the signatures that are checked with them: Ed25519, and RSA with SHA-256.

Only the two algorithms, and only sizes that are neither weak nor dear to check: whoever signs wrongly makes us work.
"""

from functools import lru_cache
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
    load_pem_public_key,
)

from trade_engine.domain.errors import InvalidRequest

ED25519: Final = "ED25519"
RSA: Final = "RSA"
#: Characters of a key in PEM.
PEM_MAX: Final = 2_000
RSA_BITS: Final = (2_048, 4_096)
_RSA_EXPONENT: Final = 65_537
#: Bytes of a signature: Ed25519's, and the longest of RSA.
SIGNATURE_BYTES: Final = (64, RSA_BITS[1] // 8)
_KEYS_PARSED: Final = 1_024


def read_public_key(pem: str) -> tuple[str, bytes]:
    """A public key as PEM has it: its algorithm, and its SubjectPublicKeyInfo as DER.

    Raises:
        InvalidRequest: INVALID_API_KEY_TERMS.
    """
    if len(pem) > PEM_MAX or not pem.strip().startswith("-----BEGIN PUBLIC KEY-----"):
        raise _wrong("public_key is a public key as PEM, which begins with -----BEGIN PUBLIC KEY-----")
    try:
        key = load_pem_public_key(pem.strip().encode())
    except Exception as error:
        # Whatever the library finds wrong with what a stranger sent.
        raise _wrong("public_key cannot be read") from error
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if isinstance(key, Ed25519PublicKey):
        return ED25519, der
    least, most = RSA_BITS
    if not isinstance(key, RSAPublicKey):
        raise _wrong("public_key must be of Ed25519 or RSA")
    if not least <= key.key_size <= most or key.public_numbers().e != _RSA_EXPONENT:
        raise _wrong(f"an RSA key has {least} to {most} bits and the exponent {_RSA_EXPONENT}")
    return RSA, der


def is_signed(der: bytes, signature: bytes, signed: bytes) -> bool:
    """Whether these bytes were signed with the private key that belongs to a public one."""
    key = _parsed(der)
    try:
        if isinstance(key, Ed25519PublicKey):
            key.verify(signature, signed)
        else:
            key.verify(signature, signed, PKCS1v15(), SHA256())
    except InvalidSignature:
        return False
    return True


@lru_cache(_KEYS_PARSED)
def _parsed(der: bytes) -> Ed25519PublicKey | RSAPublicKey:
    key = load_der_public_key(der)
    if not isinstance(key, Ed25519PublicKey | RSAPublicKey):
        raise TypeError("a key of another algorithm is stored")
    return key


def _wrong(message: str) -> InvalidRequest:
    return InvalidRequest("INVALID_API_KEY_TERMS", message, field="public_key", limit=PEM_MAX)
