"""The secrets that roles share: configured, else made once and kept in the data directory."""

import contextlib
import os
import re
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from trade_engine.config import Config, ConfigError

SECRET_FILE: Final = "jwt.secret"
ENCRYPTION_FILE: Final = "api-keys.secret"
_KEY: Final = re.compile("[0-9a-fA-F]{64}")


def jwt_secret(config: Config, data_dir: Path) -> str:
    """The configured HS256 secret, else the one kept in the data directory, made there the first time."""
    if config.auth.jwt_secret:
        return config.auth.jwt_secret
    return _made_once(data_dir / SECRET_FILE, lambda: secrets.token_urlsafe(48))


def encryption_file(config: Config, data_dir: Path) -> Path | None:
    """The file that holds what API keys' secrets are encrypted with; None: an option holds it."""
    if config.auth.encryption_key_file is not None:
        return Path(config.auth.encryption_key_file)
    return None if config.auth.encryption_key is not None else data_dir / ENCRYPTION_FILE


def encryption_keys(config: Config, data_dir: Path) -> Callable[[], Sequence[bytes]]:
    """What API keys' secrets are encrypted with, looked up at each call: configured, else made in the data directory.

    The first encrypts; those after it are of before, and decrypt.

    Raises:
        ConfigError: at the first call or here, the file cannot be read, or holds something else.
    """
    file = encryption_file(config, data_dir)
    if file is None:
        known = _read_keys(config.auth.encryption_key or "", "auth.encryption_key")
        return lambda: known
    if config.auth.encryption_key_file is None:
        _made_once(file, lambda: secrets.token_hex(32))

    def read() -> Sequence[bytes]:
        try:
            return _read_keys(file.read_text(encoding="ascii"), str(file))
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{file}: cannot be read: {error}") from error

    read()
    return read


def put_keys(file: Path, keys: Sequence[bytes]) -> None:
    """Have a file hold these keys, at once and on the disk: whoever reads it finds the old ones or the new ones."""
    made = file.with_name(f"{file.name}.{os.getpid()}")
    made.touch(mode=0o600)
    with made.open("w", encoding="ascii") as output:
        output.write("\n".join(key.hex() for key in keys) + "\n")
        output.flush()
        os.fsync(output.fileno())
    made.replace(file)


def _read_keys(text: str, place: str) -> Sequence[bytes]:
    keys = text.split()
    if not keys or any(_KEY.fullmatch(key) is None for key in keys):
        raise ConfigError(f"{place}: must hold 64 hex digits, or several times 64 with spaces or lines between")
    return [bytes.fromhex(key) for key in keys]


def _made_once(file: Path, make: Callable[[], str]) -> str:
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        made = file.with_suffix(f".{os.getpid()}")
        made.touch(mode=0o600)
        made.write_text(make())
        with contextlib.suppress(FileExistsError):
            os.link(made, file)
        made.unlink()
    return file.read_text().strip()
