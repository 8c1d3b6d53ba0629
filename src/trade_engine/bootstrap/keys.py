"""The secrets that roles share: configured, else made once and kept in the data directory."""

import contextlib
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Final

from trade_engine.config import Config, ConfigError

_SECRET_FILE: Final = "jwt.secret"
_ENCRYPTION_FILE: Final = "api-keys.secret"


def jwt_secret(config: Config, data_dir: Path) -> str:
    """The configured HS256 secret, else the one kept in the data directory, made there the first time."""
    if config.auth.jwt_secret:
        return config.auth.jwt_secret
    return _made_once(data_dir / _SECRET_FILE, lambda: secrets.token_urlsafe(48))


def encryption_key(config: Config, data_dir: Path) -> bytes:
    """What API keys' secrets are encrypted with: as configured, else kept in the data directory, made the first time.

    Raises:
        ConfigError: the file holds no key.
    """
    text = config.auth.encryption_key or _made_once(data_dir / _ENCRYPTION_FILE, lambda: secrets.token_hex(32))
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise ConfigError(f"{data_dir / _ENCRYPTION_FILE}: must hold 64 hex digits") from error


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
