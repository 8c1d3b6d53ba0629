"""The one place where everything is wired, in the order in which it starts.

    1 database -> 2 wallet -> 3 settlement -> 4 sequencer and admission -> 5 API

Nothing below this module knows the configuration; everything gets plain values from here.
"""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Final

import asyncpg
import structlog

from trade_engine import __version__
from trade_engine.api.app import create_app
from trade_engine.api.auth.tokens import TRADER, TokenVerifier, issue_token
from trade_engine.api.server import ApiServer
from trade_engine.api.settings import (
    ApiSettings,
    LimitSettings,
    RateLimit,
    ServerSettings,
    TokenSettings,
    VerificationKey,
)
from trade_engine.config import Config
from trade_engine.matching.books import BookKind, default_kind, new_book
from trade_engine.matching.protocol import Book
from trade_engine.sequencer.admission import Admission
from trade_engine.sequencer.bookkeeping import Changes
from trade_engine.sequencer.clock import Clock
from trade_engine.sequencer.commit import Writer
from trade_engine.sequencer.failpoints import Failpoints
from trade_engine.sequencer.memory import Memory
from trade_engine.sequencer.pipeline import Limits, Sequencer
from trade_engine.sequencer.recovery import recover
from trade_engine.sequencer.service import EngineService
from trade_engine.settlement.worker import SettlementWorker
from trade_engine.storage.durability import require_durable
from trade_engine.storage.embedded import EmbeddedPostgres, EmbeddedSettings, use_embedded
from trade_engine.storage.migrate import load_migrations, require_current, up
from trade_engine.storage.partitions import create_partitions, keep_ahead
from trade_engine.storage.pool import PoolSettings, close_pool, open_pool
from trade_engine.storage.queries import Queries
from trade_engine.storage.types import Pool
from trade_engine.wallet.service import PostgresWallet

log = structlog.get_logger(__name__)

_SECRET_FILE: Final = "jwt.secret"
