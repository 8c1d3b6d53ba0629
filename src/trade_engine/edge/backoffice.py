"""What the admin API works with beside the engine: dead letters, reconciliation, verification, options, webhooks."""

from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol

import msgspec

from trade_engine.settlement.dead_letters import DeadLetters
from trade_engine.settlement.reconciler import Reconciler
from trade_engine.storage.types import Pool
from trade_engine.storage.webhooks import WebhookStore


class Reloaded(NamedTuple):
    """What became of options that were read again."""

    applied: list[str]
    needs_restart: list[str]
    #: Markets that stay as they are, and why.
    refused: dict[str, str]


class Verified(msgspec.Struct, kw_only=True):
    """One verification: under way, or what came of it; times in microseconds since 1970."""

    started_us: int
    running: bool
    ended_us: int | None = None
    #: None: it did not come to its end.
    ok: bool | None = None
    journal_batches: int = 0
    journal_head: str = ""
    differences: list[str] = []
    #: Why it did not come to its end.
    failure: str | None = None


class Verifier(Protocol):
    """Replays the journal and compares, beside the engine."""

    last: Verified | None

    def start(self) -> Verified:
        """Begin; the one that runs, if there is one."""


class BackOffice(NamedTuple):
    """The tools of an operator."""

    pool: Pool
    dead_letters: DeadLetters
    reconciler: Reconciler
    #: Reads the configuration again; raises InvalidRequest if it is wrong.
    reload: Callable[[], Awaitable[Reloaded]]
    webhooks: WebhookStore
    verifier: Verifier
    #: All metrics, as Prometheus takes them.
    metrics: Callable[[], bytes]
