"""What is right of each option and wrong of several together."""

import ipaddress
from typing import Final

from trade_engine.cache.address import read_address
from trade_engine.config.errors import ConfigError
from trade_engine.config.schema import Config

_JWT_SECRET_BYTES_MIN: Final = 32
#: Of its 100 connections; the rest are for the writer, probes, commands beside the engine and the superuser.
_EMBEDDED_CONNS_MAX: Final = 80


def check_together(config: Config) -> None:
    """Refuse options that contradict each other, or secrets that are none.

    Raises:
        ConfigError: the first that is wrong.
    """
    secret = config.auth.jwt_secret
    if secret is not None and len(secret.encode()) < _JWT_SECRET_BYTES_MIN:
        raise ConfigError(f"auth.jwt_secret: (hidden): must have at least {_JWT_SECRET_BYTES_MIN} bytes")
    if config.auth.jwks_file and config.auth.jwks_url:
        raise ConfigError(f"auth.jwks_url: {config.auth.jwks_url!r}: auth.jwks_file is set as well; set one of the two")
    for key in ("url", "direct_url"):
        url = getattr(config.database, key)
        if url and not url.startswith(("postgresql://", "postgres://")):
            raise ConfigError(f"database.{key}: (hidden): must start with postgresql://")
    _check_redis(config.redis.url)
    wallet = config.wallet
    if wallet.database_url and not wallet.database_url.startswith(("postgresql://", "postgres://")):
        raise ConfigError("wallet.database_url: (hidden): must start with postgresql://")
    if wallet.mode == "http" and not (wallet.url or "").startswith(("http://", "https://")):
        raise ConfigError("wallet.url: (hidden): mode http needs it, and it must start with http:// or https://")
    for network in config.webhooks.private_networks:
        try:
            ipaddress.ip_network(network)
        except ValueError as error:
            raise ConfigError(f"webhooks.private_networks: {network[:100]!r}: {error}") from error
    if config.webhooks.enabled and config.rabbitmq.url is None:
        raise ConfigError("webhooks.enabled: True: needs rabbitmq.url, which events come from")
    pools = ("max_open_conns", "wallet_conns", "history_conns")
    wanted = sum(getattr(config.database, name) for name in pools)
    if config.database.url is None and wanted > _EMBEDDED_CONNS_MAX:
        names = " + ".join(pools)
        raise ConfigError(f"database.{names}: {wanted}: the embedded database has room for {_EMBEDDED_CONNS_MAX}")
    if config.database.direct_url and not config.database.url:
        raise ConfigError("database.direct_url: (hidden): needs database.url beside it")


def _check_redis(url: str | None) -> None:
    if url is None:
        return
    try:
        read_address(url)
    except ValueError as error:
        raise ConfigError(f"redis.url: (hidden): {error}") from None
