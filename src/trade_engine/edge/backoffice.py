"""What the admin API works with beside the engine: dead letters, reconciliation, options, webhooks, and the record."""

from collections.abc import Awaitable, Callable
from typing import NamedTuple

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


class BackOffice(NamedTuple):
    """The tools of an operator."""

    pool: Pool
    dead_letters: DeadLetters
    reconciler: Reconciler
    #: Reads the configuration again; raises InvalidRequest if it is wrong.
    reload: Callable[[], Awaitable[Reloaded]]
    webhooks: WebhookStore
