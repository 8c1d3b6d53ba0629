"""Users whose keys are private ones: what they sign with is no secret of the engine's."""

from Crypto.PublicKey import ECC, RSA

from adapters.raw import RawAccount


def another(private: str) -> str:
    """A private key of the same kind that nobody has registered."""
    if len(private) < 200:
        return str(ECC.generate(curve="Ed25519").export_key(format="PEM"))
    return str(RSA.generate(2_048).export_key("PEM", pkcs=8), "ascii")


class PrivateKeyAccount(RawAccount):
    """One user."""

    def with_secret(self, secret: str) -> RawAccount:
        """Somebody else's private key: what is no key at all would not get past the client."""
        return super().with_secret(another(self.login[1]))
