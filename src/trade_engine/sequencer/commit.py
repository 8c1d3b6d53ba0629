"""The commit: one call that writes a batch, fenced; the only place from which an acknowledgement can follow.

Owns the writer's own connection.  What it raises tells what is known of the batch's fate.
"""

from typing import Any

import asyncpg

from trade_engine.domain.enums import MarketState
from trade_engine.domain.market import Market
from trade_engine.domain.orders import Order, Trade
from trade_engine.matching.markets import MarketBooks
from trade_engine.sequencer.bookkeeping import Bookkeeper, Changes, Instruction
from trade_engine.sequencer.journal import JournalBatch
from trade_engine.storage.types import Connection

_PARAMETERS = 84
_SETTINGS = {"application_name": "trade-engine writer"}
_CALL = f"SELECT commit_batch({', '.join(f'${n}' for n in range(1, _PARAMETERS + 1))})"


class CommitRefused(Exception):
    """The database refused the batch; nothing of it was written."""


class Fenced(Exception):
    """Another writer has taken over; this one must stop."""


class CommitUnknown(Exception):
    """The connection was lost, or time ran out: the batch may or may not have been written."""


class Writer:
    """The fenced connection that commits.

    Args:
        url: of the database, directly (not through a pooler in transaction mode).
        timeout_s: how long a commit may take before its outcome counts as unknown.
    """

    def __init__(self, url: str, timeout_s: float = 10.0) -> None:
        self._url = url
        self._timeout_s = timeout_s
        self._connection: Connection | None = None
        self._statement: Any = None
        self.epoch = 0

    @property
    def connected(self) -> bool:
        """Whether the connection stands, as far as is known."""
        return self._connection is not None and not self._connection.is_closed()

    async def take_over(self) -> asyncpg.Record:
        """Connect anew and become the writer: bump the epoch, wait for any commit under way; the state found.

        Raises:
            OSError, asyncpg.PostgresError: the database is not to be reached.
        """
        await self.close()
        self._connection = await asyncpg.connect(self._url, timeout=self._timeout_s, server_settings=_SETTINGS)
        row = await self._connection.fetchrow(
            "UPDATE engine_state SET epoch = epoch + 1 WHERE id = 1 RETURNING *", timeout=60
        )
        if row is None:
            raise CommitRefused("engine_state is empty: run `trade-engine migrate up`")
        self.epoch = row["epoch"]
        self._statement = await self._connection.prepare(_CALL)
        return row

    @property
    def connection(self) -> Connection:
        """The writer's connection, for recovery to read through; only between commits."""
        if self._connection is None:
            raise CommitUnknown("the writer is not connected")
        return self._connection

    async def commit(self, arguments: list[Any]) -> None:
        """Write one batch.

        Raises:
            CommitRefused: nothing was written, trying it again would not help.
            Fenced: somebody else writes now.
            CommitUnknown: nobody knows.
        """
        if self._connection is None or self._connection.is_closed():
            raise CommitUnknown("the connection is closed")
        try:
            await self._statement.fetchval(*arguments, timeout=self._timeout_s)
        except asyncpg.PostgresError as error:
            code = error.sqlstate or ""
            if code == "TE001":
                raise Fenced(str(error)) from error
            if code[:2] in ("08", "57"):
                raise CommitUnknown(str(error)) from error
            raise CommitRefused(f"{code}: {error}") from error
        except (OSError, TimeoutError, asyncpg.InterfaceError) as error:
            raise CommitUnknown(repr(error)) from error
        except (ValueError, OverflowError, TypeError) as error:
            raise CommitRefused(repr(error)) from error

    async def close(self) -> None:
        """Let the connection go; a second call does nothing."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None


def commit_arguments(
    epoch: int,
    previous_sequence: int,
    clock_us: int,
    instruction_id: int,
    batch: JournalBatch,
    changes: Changes,
    bookkeeper: Bookkeeper,
    books: MarketBooks,
    markets: dict[int, Market],
) -> list[Any]:
    """All arguments of ``commit_batch``, in its order; ``instruction_id`` is the last one already given out."""
    return [
        epoch, previous_sequence, batch.first_sequence, batch.last_sequence, bookkeeper.trade_sequence,
        instruction_id + len(changes.instructions), clock_us, batch.previous_hash, batch.hash, batch.state_hash,
        batch.commands, batch.events,
        *_orders(list(changes.orders.values()), changes.new),
        *_trades(changes.trades),
        *_instructions(changes.instructions, instruction_id),
        *_markets(sorted(changes.markets), bookkeeper, books, markets),
    ]  # fmt: skip


def _orders(orders: list[Order], new: set[int]) -> list[list[Any]]:
    return [
        [o.sequence in new for o in orders],
        [o.order_id for o in orders],
        [o.sequence for o in orders],
        [o.user_id for o in orders],
        [o.market_id for o in orders],
        [o.side.name for o in orders],
        [o.type.name for o in orders],
        [o.time_in_force.name for o in orders],
        [o.stp.name for o in orders],
        [int(o.flags) for o in orders],
        [o.status.name for o in orders],
        [o.reason.name if o.reason else None for o in orders],
        [o.client_order_id for o in orders],
        [o.institution_id for o in orders],
        [o.price for o in orders],
        [o.quantity for o in orders],
        [o.stop_price for o in orders],
        [o.display for o in orders],
        [o.max_notional for o in orders],
        [o.filled for o in orders],
        [o.filled_notional for o in orders],
        [o.cancelled for o in orders],
        [o.priority for o in orders],
        [o.display_remaining for o in orders],
        [o.linked_id for o in orders],
        [o.maker_fee for o in orders],
        [o.taker_fee for o in orders],
        [o.fee_asset.name for o in orders],
        [o.maker_basis for o in orders],
        [o.taker_basis for o in orders],
        [o.fee_charged for o in orders],
        [o.reserved for o in orders],
        [o.hold for o in orders],
        [o.expires_us for o in orders],
        [o.created_us for o in orders],
        [o.updated_us for o in orders],
        [o.filled_us for o in orders],
        [o.cancelled_us for o in orders],
    ]


def _trades(trades: list[Trade]) -> list[list[Any]]:
    return [
        [t.trade_id for t in trades],
        [t.sequence for t in trades],
        [t.market_id for t in trades],
        [t.price for t in trades],
        [t.quantity for t in trades],
        [t.notional for t in trades],
        [t.buyer_order_id for t in trades],
        [t.seller_order_id for t in trades],
        [t.buyer_user_id for t in trades],
        [t.seller_user_id for t in trades],
        [t.buyer_fee for t in trades],
        [t.seller_fee for t in trades],
        [t.buyer_fee_asset for t in trades],
        [t.seller_fee_asset for t in trades],
        [t.is_buyer_maker for t in trades],
        [t.executed_us for t in trades],
    ]


def _instructions(instructions: list[Instruction], last_id: int) -> list[list[Any]]:
    return [
        list(range(last_id + 1, last_id + 1 + len(instructions))),
        *([column[n] for column in instructions] for n in range(7)),
    ]


def _markets(
    changed: list[int], bookkeeper: Bookkeeper, books: MarketBooks, markets: dict[int, Market]
) -> list[list[Any]]:
    rows = [(number, books.book(number).memory()) for number in changed]
    return [
        [number for number, _ in rows],
        [MarketState(memory.state).name for _, memory in rows],
        [memory.last_price * markets[number].tick_size for number, memory in rows],
        [bookkeeper.counters[number].event_sequence for number, _ in rows],
        [memory.priority for _, memory in rows],
        [memory.price_band_ppm for _, memory in rows],
        [memory.max_slippage_ppm for _, memory in rows],
        [memory.min_notional for _, memory in rows],
        [memory.max_open_orders for _, memory in rows],
        [memory.max_fills for _, memory in rows],
    ]
