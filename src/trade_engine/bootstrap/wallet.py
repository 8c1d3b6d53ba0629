"""Which wallet the engine uses, made of plain values out of the configuration."""

import random
import time
from collections.abc import Callable
from typing import Final

import structlog

from trade_engine.config import Config
from trade_engine.edge.auth.tokens import ENGINE, issue_token
from trade_engine.storage.types import Pool
from trade_engine.wallet.audit import PostgresLedger
from trade_engine.wallet.breaker import BreakerSettings
from trade_engine.wallet.http_client import ClientSettings, HttpWallet
from trade_engine.wallet.memory import MemoryWallet
from trade_engine.wallet.port import AuditedWallet, BreakerState

log = structlog.get_logger(__name__)

#: Who the engine is to the wallet service.
_ENGINE_ID: Final = "00000000-0000-7000-8000-0000000000e0"
_TOKEN_TTL_S: Final = 3_600


def make_wallet(
    config: Config,
    pool: Pool | None,
    secret: str,
    on_called: Callable[[str, str, float], None] | None = None,
) -> AuditedWallet:
    """The wallet that ``wallet.mode`` names; one over HTTP has to be closed.

    Args:
        config: all options.
        pool: of the wallet in this process.
        secret: what tokens are signed with.
        on_called: told of each call: operation, ``ok`` or what went wrong, seconds.
    """
    wallet = _made(config, pool, secret)
    if on_called is not None and not isinstance(wallet, MemoryWallet):
        wallet.on_called = on_called
    return wallet


def _made(config: Config, pool: Pool | None, secret: str) -> MemoryWallet | HttpWallet | PostgresLedger:
    options = config.wallet
    if options.mode == "memory":
        log.warning("wallet_in_memory", means="balances are a fake, and forgotten when the engine stops")
        return MemoryWallet(reach=None)
    if options.mode == "http":
        return HttpWallet(
            client_settings(config),
            service_token(config, secret),
            clock=time.monotonic,
            chance=random.random,
            on_change=_tell,
        )
    if pool is None:
        raise ValueError("wallet.mode in_process needs a pool")
    return PostgresLedger(
        pool,
        reserve_timeout_s=options.reserve_timeout_ms / 1e3,
        timeout_s=options.timeout_ms / 1e3,
    )


def client_settings(config: Config) -> ClientSettings:
    """How the client of the service works."""
    options = config.wallet
    return ClientSettings(
        url=options.url or "",
        reserve_timeout_s=options.reserve_timeout_ms / 1e3,
        timeout_s=options.timeout_ms / 1e3,
        retries=options.retries,
        backoff_s=options.retry_backoff_ms / 1e3,
        connections=options.max_connections,
        breaker=BreakerSettings(
            options.breaker_failures,
            options.breaker_within_s,
            options.breaker_open_s,
            options.breaker_trial_calls,
        ),
    )


def service_token(config: Config, secret: str) -> Callable[[], str]:
    """The configured token, else one of the role engine made with the shared secret, made anew before it ends."""
    if config.wallet.token:
        given = config.wallet.token
        return lambda: given
    made, until_s = "", 0.0

    def token() -> str:
        nonlocal made, until_s
        now_s = time.monotonic()
        if now_s >= until_s:
            auth = config.auth
            made = issue_token(
                secret, _ENGINE_ID, (ENGINE,), _TOKEN_TTL_S, issuer=auth.jwt_issuer, audience=auth.jwt_audience
            )
            until_s = now_s + _TOKEN_TTL_S / 2
        return made

    return token


def _tell(before: BreakerState, after: BreakerState) -> None:
    log.warning("wallet_breaker_changed", before=before.value, after=after.value)
