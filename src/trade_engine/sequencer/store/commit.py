"""The commit in PostgreSQL: one call that writes a batch, fenced; only from here can an acknowledgement follow.

Owns the writer's own connection.  What it raises tells what is known of the batch's fate; no error of the driver
passes.
"""

import contextlib
import itertools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import attrgetter
from typing import Any, Final, NamedTuple, TypeVar

import asyncpg

from trade_engine.domain.enums import MarketState
from trade_engine.domain.orders import Order, OrderPair, Trade
from trade_engine.sequencer.bookkeeping import WalletInstruction
from trade_engine.sequencer.lease import Holder, Identity, recovery_lease_ms
from trade_engine.sequencer.publish import CommittedBatch, TouchedMarket
from trade_engine.sequencer.store.port import (
    CommitRefused,
    CommitUndone,
    CommitUnknown,
    EngineState,
    Fenced,
    StoreUnavailable,
)
from trade_engine.storage.durability import require_durable
from trade_engine.storage.errors import DurabilityError
from trade_engine.storage.types import Connection

#: Classes of SQLSTATE that do not say that the batch itself was at fault: connection, resources, operator, system.
_NOT_REFUSED: Final = ("08", "53", "57", "58", "XX", "25")
#: Rolled back for the sake of others: serialization failure, deadlock, a lock that was not to be had.
_UNDONE: Final = frozenset(("40001", "40P01", "55P03"))
#: The server does not know, either.
_COMPLETION_UNKNOWN: Final = "40003"
_CONNECT_TIMEOUT_S: Final = 2.0
_TAKE_OVER_TIMEOUT_S: Final = 60.0
_SETTINGS: Final = {"application_name": "trade-engine writer"}
#: From another writer, as long as that one is as it was seen; or from ourselves.
_TAKE_OVER: Final = """
    UPDATE engine_state SET epoch = epoch + 1, heartbeat_at = clock_timestamp(), lease_ms = $2,
        writer_id = $1, writer_name = $3, writer_place = $4
    WHERE id = 1 AND epoch = $5 AND ($7 OR heartbeat_at IS NOT DISTINCT FROM $6) RETURNING *"""
_AGAIN: Final = """
    UPDATE engine_state SET epoch = epoch + $3, heartbeat_at = clock_timestamp(), lease_ms = $2
    WHERE id = 1 AND writer_id = $1 RETURNING *"""

#: The columns of each array parameter of ``commit_batch``, by its name there: what an item has in that column.
_ORDER: Final[dict[str, Callable[[Order], Any]]] = {
    "o_order_id": attrgetter("order_id"),
    "o_sequence": attrgetter("sequence"),
    "o_user_id": attrgetter("user_id"),
    "o_market_id": attrgetter("market_id"),
    "o_side": attrgetter("side.name"),
    "o_type": attrgetter("type.name"),
    "o_time_in_force": attrgetter("time_in_force.name"),
    "o_stp": attrgetter("stp.name"),
    "o_flags": lambda o: int(o.flags),
    "o_status": attrgetter("status.name"),
    "o_reason": lambda o: o.reason.name if o.reason else None,
    "o_client_order_id": attrgetter("client_order_id"),
    "o_institution_id": attrgetter("institution_id"),
    "o_price": attrgetter("price"),
    "o_quantity": attrgetter("quantity"),
    "o_stop_price": attrgetter("stop_price"),
    "o_display": attrgetter("display"),
    "o_max_notional": attrgetter("max_notional"),
    "o_filled": attrgetter("filled"),
    "o_filled_notional": attrgetter("filled_notional"),
    "o_cancelled": attrgetter("cancelled"),
    "o_priority": attrgetter("priority"),
    "o_display_remaining": attrgetter("display_remaining"),
    "o_linked": attrgetter("linked_number"),
    "o_maker_fee": attrgetter("maker_fee"),
    "o_taker_fee": attrgetter("taker_fee"),
    "o_fee_asset": attrgetter("fee_asset.name"),
    "o_maker_basis": attrgetter("maker_basis"),
    "o_taker_basis": attrgetter("taker_basis"),
    "o_fee_charged": attrgetter("fee_charged"),
    "o_reserved": attrgetter("reserved"),
    "o_hold": attrgetter("hold"),
    "o_expires_us": attrgetter("expires_us"),
    "o_created_us": attrgetter("created_us"),
    "o_updated_us": attrgetter("updated_us"),
    "o_filled_us": attrgetter("filled_us"),
    "o_cancelled_us": attrgetter("cancelled_us"),
}
_TRADE: Final[dict[str, Callable[[Trade], Any]]] = {
    "t_trade_id": attrgetter("trade_id"),
    "t_sequence": attrgetter("sequence"),
    "t_market_id": attrgetter("market_id"),
    "t_price": attrgetter("price"),
    "t_quantity": attrgetter("quantity"),
    "t_notional": attrgetter("notional"),
    "t_buyer_order_id": attrgetter("buyer_order_id"),
    "t_seller_order_id": attrgetter("seller_order_id"),
    "t_buyer_user_id": attrgetter("buyer_user_id"),
    "t_seller_user_id": attrgetter("seller_user_id"),
    "t_buyer_fee": attrgetter("buyer_fee"),
    "t_seller_fee": attrgetter("seller_fee"),
    "t_buyer_fee_asset": attrgetter("buyer_fee_asset"),
    "t_seller_fee_asset": attrgetter("seller_fee_asset"),
    "t_is_buyer_maker": attrgetter("is_buyer_maker"),
    "t_executed_us": attrgetter("executed_us"),
}
_INSTRUCTION: Final[dict[str, Callable[[WalletInstruction], Any]]] = {
    "i_kind": attrgetter("kind"),
    "i_trade_id": attrgetter("trade_id"),
    "i_order_id": attrgetter("order_id"),
    "i_user_id": attrgetter("user_id"),
    "i_asset": attrgetter("asset"),
    "i_amount": attrgetter("amount"),
    "i_reason": attrgetter("reason"),
}
#: The columns of each array parameter of ``note_pairs``.
_PAIR: Final[dict[str, Callable[[OrderPair], Any]]] = {
    "p_first": attrgetter("first_order_id"),
    "p_second": attrgetter("second_order_id"),
    "p_number": attrgetter("pair_number"),
    "p_user": attrgetter("user_id"),
    "p_market": attrgetter("market_id"),
    "p_client": attrgetter("client_pair_id"),
    "p_created_us": attrgetter("created_us"),
}
#: The same of ``free_client_ids``.
_REUSED: Final[dict[str, Callable[[Order], Any]]] = {
    "f_user": attrgetter("user_id"),
    "f_client": attrgetter("client_order_id"),
}
_MARKET: Final[dict[str, Callable[[TouchedMarket], Any]]] = {
    "m_market_id": attrgetter("market.market_id"),
    "m_state": lambda m: MarketState(m.remembered.state).name,
    "m_last_price": lambda m: m.remembered.last_price * m.market.tick_size,
    "m_event_sequence": attrgetter("event_sequence"),
    "m_priority": attrgetter("remembered.priority"),
    "m_price_band": attrgetter("remembered.price_band_ppm"),
    "m_max_slippage": attrgetter("remembered.max_slippage_ppm"),
    "m_min_notional": attrgetter("remembered.min_notional"),
    "m_max_open_orders": attrgetter("remembered.max_open_orders"),
    "m_max_fills": attrgetter("remembered.max_fills"),
    "m_rule_flags": attrgetter("remembered.rules"),
    "m_reached_high": attrgetter("remembered.reached_high"),
    "m_reached_low": attrgetter("remembered.reached_low"),
    "m_next_high": attrgetter("remembered.next_high"),
    "m_next_low": attrgetter("remembered.next_low"),
}

#: What the functions call their parameters, and their types.
_SIGNATURES: Final = """
    SELECT proname, name, type::REGTYPE::TEXT FROM pg_proc, unnest(proargnames, proargtypes::OID[]) AS a (name, type)
    WHERE pg_proc.oid IN ('commit_batch'::REGPROC, 'free_client_ids'::REGPROC, 'note_pairs'::REGPROC)
        AND type IS NOT NULL"""
#: What neither numbers nor words have in them.
_MORE: Final = re.compile(r"[^A-Za-z0-9_,-]").search

_Item = TypeVar("_Item")


class _Statement(NamedTuple):
    """What writes a batch, prepared, and which of its parameters are arrays that it wants as text."""

    prepared: Any
    as_text: Sequence[bool]

    def values(self, calls: Mapping[str, Mapping[str, Any]]) -> list[Any]:
        """The arguments of all calls, as it wants them."""
        arguments = (value for of in calls.values() for value in of.values())
        return [array_text(value) if flag else value for value, flag in zip(arguments, self.as_text, strict=True)]


class Writer:
    """The fenced connection that commits.

    Args:
        url: of the database, directly (not through a pooler in transaction mode).
        identity: who writes.
        timeout_s: how long a commit may take before its outcome counts as unknown.
        lease_s: the lease, once memory is there.
    """

    def __init__(self, url: str, identity: Identity, timeout_s: float = 4.0, lease_s: float = 5.0) -> None:
        self._url = url
        self._identity = identity
        self._timeout_s = timeout_s
        self._lease_ms = recovery_lease_ms(lease_s)
        self._connection: Connection | None = None
        #: By the functions that they call.
        self._statements: dict[tuple[str, ...], _Statement] = {}
        #: Whether a commit was tried under this epoch.
        self._used = False
        self.epoch = 0

    @property
    def connected(self) -> bool:
        """Whether the connection stands, as far as is known."""
        return self._connection is not None and not self._connection.is_closed()

    async def take_over(self, seen: Holder | None = None, *, forced: bool = False) -> EngineState:
        """Connect anew and become the writer, or the writer anew: wait for any commit under way; the state found.

        The epoch is bumped, but for a writer anew that has tried no commit under its own.

        Args:
            seen: the writer to take over from, who must have given no sign of life since; None: from ourselves.
            forced: whatever that writer does, as long as no third one was quicker.

        Raises:
            Fenced: another engine writes, or that writer lives.
            StoreUnavailable: the database is not to be reached, or not yet ready.
            DurabilityError: it could lose what it confirms.
        """
        await self.close()
        try:
            row = await self._take_over(seen, forced=forced)
        except DurabilityError:
            raise
        except Exception as error:
            # Whatever it is: this is not the writer yet, and a server that restarts has many ways to say no.
            raise StoreUnavailable(f"take-over: {error!r}") from error
        if row is None:
            raise Fenced(f"this engine may not write after epoch {seen.epoch if seen else self.epoch}")
        self.epoch, self._used = row["epoch"], False
        return EngineState(*(row[name] for name in EngineState._fields))

    async def _take_over(self, seen: Holder | None, *, forced: bool) -> asyncpg.Record | None:
        self._connection = connection = await asyncpg.connect(
            self._url,
            timeout=min(self._timeout_s, _CONNECT_TIMEOUT_S),
            command_timeout=_TAKE_OVER_TIMEOUT_S,
            server_settings=_SETTINGS,
        )
        await require_durable(connection)
        identity = self._identity
        if seen is None:
            return await connection.fetchrow(_AGAIN, identity.writer_id, self._lease_ms, int(self._used))
        return await connection.fetchrow(
            _TAKE_OVER, identity.writer_id, self._lease_ms, identity.name, identity.place, seen.epoch,
            seen.heartbeat_at, forced,
        )  # fmt: skip

    @property
    def connection(self) -> Connection:
        """The writer's connection, for recovery to read through; only between commits.

        Raises:
            StoreUnavailable: it is not connected.
        """
        if self._connection is None:
            raise StoreUnavailable("the writer is not connected")
        return self._connection

    async def commit(self, batch: CommittedBatch) -> None:
        """Write one batch.

        Raises:
            CommitRefused: nothing was written, trying it again would not help.
            CommitUndone: nothing was written, trying it again may help.
            Fenced: somebody else writes now.
            CommitUnknown: nobody knows.
            StoreUnavailable: there was no connection, nothing was sent.
        """
        if self._connection is None or self._connection.is_closed():
            raise StoreUnavailable("the connection is closed")
        self._used = True
        try:
            calls = _calls(self.epoch, batch)
            statement = self._statements.get(tuple(calls))
            if statement is None:
                statement = await self._prepare(self._connection, calls)
                self._statements[tuple(calls)] = statement
            await statement.prepared.fetchrow(*statement.values(calls), timeout=self._timeout_s)
        except asyncpg.PostgresError as error:
            code = error.sqlstate or ""
            if code == "TE001":
                raise Fenced(str(error)) from error
            if code in _UNDONE:
                raise CommitUndone(f"{code}: {error}") from error
            if code[:2] in _NOT_REFUSED or code == _COMPLETION_UNKNOWN:
                raise CommitUnknown(f"{code}: {error}") from error
            raise CommitRefused(f"{code}: {error}") from error
        except (ValueError, OverflowError, TypeError) as error:
            raise CommitRefused(repr(error)) from error
        except Exception as error:
            # Lost connections, time-outs, and whatever else the driver raises when its connection ends under it.
            raise CommitUnknown(repr(error)) from error

    async def _prepare(self, connection: Connection, calls: Mapping[str, Iterable[str]]) -> "_Statement":
        """One statement, which is one transaction; its functions are called in the order in which they stand.

        Arrays but those of texts travel as one text: the driver would look at each element of each.
        """
        types = {(row[0], row[1]): row[2] for row in await connection.fetch(_SIGNATURES, timeout=self._timeout_s)}
        numbers, texts, as_text = itertools.count(1), [], []
        for name, names in calls.items():
            given = []
            for each in names:
                type_ = types[name, each]
                as_text.append(type_.endswith("[]") and type_ != "text[]")
                given.append(f"{each} => ${next(numbers)}" + (f"::TEXT::{type_}" if as_text[-1] else ""))
            texts.append(f"{name}({', '.join(given)})")
        prepared = await connection.prepare(f"SELECT {', '.join(texts)}", timeout=self._timeout_s)
        return _Statement(prepared, as_text)

    async def close(self) -> None:
        """Let the connection go; a second call does nothing."""
        connection, self._connection, self._statements = self._connection, None, {}
        if connection is not None:
            with contextlib.suppress(Exception):
                connection.terminate()


def _calls(epoch: int, batch: CommittedBatch) -> dict[str, dict[str, Any]]:
    """The functions that write a batch, in order, each with its arguments; most batches need one."""
    calls = {"commit_batch": commit_arguments(epoch, batch)}
    reusing = [order for order in batch.orders if order.reuses_id and order.sequence in batch.new]
    if reusing:
        calls = {"free_client_ids": _columns(_REUSED, reusing), **calls}
    if batch.pairs:
        calls["note_pairs"] = _columns(_PAIR, batch.pairs)
    return calls


def array_text(values: Sequence[Any]) -> str:
    """An array of numbers, truth values, ids or names of an enumeration, as PostgreSQL reads it; None is NULL.

    Raises:
        ValueError: an element has more to it than that.
    """
    text = ",".join(["NULL" if value is None else str(value) for value in values])
    if _MORE(text) is not None or text.count(",") != max(len(values) - 1, 0):
        raise ValueError("neither numbers nor words")
    return f"{{{text}}}"


def commit_arguments(epoch: int, batch: CommittedBatch) -> dict[str, Any]:
    """All arguments of ``commit_batch`` by name."""
    journal, last_instruction = batch.journal, batch.instruction_id + len(batch.instructions)
    return {
        "p_epoch": epoch,
        "p_previous_sequence": batch.previous_sequence,
        "p_first_sequence": journal.first_sequence,
        "p_sequence": journal.last_sequence,
        "p_trade_sequence": batch.trade_sequence,
        "p_instruction_id": last_instruction,
        "p_clock_us": batch.time_us,
        "p_previous_hash": journal.previous_hash,
        "p_hash": journal.hash,
        "p_state_hash": journal.state_hash,
        "p_commands": journal.commands,
        "p_events": journal.events,
        "p_facts": journal.facts,
        "o_is_new": [order.sequence in batch.new for order in batch.orders],
        **_columns(_ORDER, batch.orders),
        **_columns(_TRADE, batch.trades),
        "i_instruction_id": list(range(batch.instruction_id + 1, last_instruction + 1)),
        **_columns(_INSTRUCTION, batch.instructions),
        **_columns(_MARKET, batch.markets),
    }


def _columns(table: Mapping[str, Callable[[_Item], Any]], items: Iterable[_Item]) -> dict[str, list[Any]]:
    return {name: list(map(value, items)) for name, value in table.items()}
