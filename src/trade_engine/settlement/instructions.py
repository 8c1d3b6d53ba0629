"""Wallet instructions in the database: taken by cursor, finished or refused in one round trip (SPEC 6.1, DESIGN 6).

An instruction is written in the commit that caused it.  It goes when it is carried out; refused, it waits as RETRY or
ends as FAILED, the dead letter.  Its trade carries the same status.  Nothing here moves money.
What became of a trade is noted for other services in the same statement (``note_settlements``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import asyncpg

from trade_engine.wallet.port import Release, SettleTrade

_COLUMNS: Final = """
    SELECT i.instruction_id, i.attempts, i.kind = 'SETTLE' AS settles, i.order_id::TEXT, i.user_id::TEXT AS owner_id,
        i.asset, (i.amount * 100000000)::BIGINT AS amount, i.reason, t.*
    FROM ({chosen}) i
    LEFT JOIN LATERAL (
        SELECT x.trade_id::TEXT, x.buyer_user_id::TEXT, x.seller_user_id::TEXT, m.base, m.quote,
            (x.quantity * 100000000)::BIGINT AS quantity, (x.notional * 100000000)::BIGINT AS notional,
            (x.price * 100000000)::BIGINT AS price, (x.buyer_fee * 100000000)::BIGINT AS buyer_fee,
            (x.seller_fee * 100000000)::BIGINT AS seller_fee, x.buyer_fee_asset, x.seller_fee_asset,
            -- The second leg of a pair is paid for by the reservation of the first.
            coalesce((SELECT p.first_order_id FROM order_pairs p WHERE p.second_order_id = x.buyer_order_id),
                x.buyer_order_id)::TEXT AS buyer_order_id,
            coalesce((SELECT p.first_order_id FROM order_pairs p WHERE p.second_order_id = x.seller_order_id),
                x.seller_order_id)::TEXT AS seller_order_id
        FROM trades x JOIN markets m ON m.market_id = x.market_id
        WHERE x.trade_id = i.trade_id OFFSET 0
    ) t ON TRUE
    ORDER BY i.instruction_id"""
_PENDING: Final = _COLUMNS.format(
    chosen="""SELECT * FROM settlement_instructions WHERE instruction_id > $1 AND status = 'PENDING'
        ORDER BY instruction_id LIMIT $2"""
)
_DUE: Final = _COLUMNS.format(
    chosen="""SELECT * FROM settlement_instructions WHERE status = 'RETRY' AND next_attempt_at <= at_us($1)
        AND instruction_id <> ALL ($3::BIGINT[]) ORDER BY next_attempt_at LIMIT $2"""
)
_EVERY: Final = _COLUMNS.format(
    chosen="SELECT * FROM settlement_instructions WHERE instruction_id > $1 ORDER BY instruction_id LIMIT $2"
)
_FINISH: Final = """
    WITH gone AS (DELETE FROM settlement_instructions WHERE instruction_id = ANY ($1::BIGINT[])), marked AS (
        UPDATE trades SET settlement_status = 'SETTLED', settlement_reason = NULL,
            settled_at = greatest(at_us($5), executed_at)
        WHERE trade_id = ANY ($2::UUID[]) AND trade_id >= $3 AND trade_id <= $4 AND settlement_status <> 'SETTLED'
        RETURNING trade_id
    )
    SELECT note_settlements(ARRAY (SELECT trade_id FROM marked ORDER BY trade_id), TRUE, at_us($5))"""
_REFUSE: Final = """
    WITH refused AS (
        UPDATE settlement_instructions i
        SET status = CASE WHEN k.final THEN 'FAILED' ELSE 'RETRY' END::instruction_status_enum,
            attempts = k.attempts, last_reason = k.reason, next_attempt_at = at_us(k.next_us)
        FROM unnest($1::BIGINT[], $2::SMALLINT[], $3::TEXT[], $4::BIGINT[], $5::BOOLEAN[])
            AS k(instruction_id, attempts, reason, next_us, final)
        WHERE i.instruction_id = k.instruction_id AND i.status <> 'FAILED'
        RETURNING i.trade_id, k.attempts, k.reason, k.final
    ), marked AS (
        UPDATE trades t
        SET settlement_attempts = r.attempts, settlement_reason = r.reason,
            settlement_status = CASE WHEN r.final THEN 'FAILED' ELSE 'PENDING' END::settlement_status_enum
        FROM refused r
        WHERE t.trade_id = r.trade_id AND t.trade_id >= $6 AND t.trade_id <= $7
        RETURNING t.trade_id, r.final, r.reason, r.attempts
    ), failed AS (
        SELECT array_agg(trade_id) AS trades, array_agg(reason) AS reasons, array_agg(attempts) AS attempts
        FROM marked WHERE final
    )
    SELECT note_settlements(trades, FALSE, clock_timestamp(), reasons, attempts) FROM failed"""
_NO_ID: Final = "00000000-0000-0000-0000-000000000000"


class Instruction(NamedTuple):
    """One thing that the wallet shall do; ``work`` is None if its trade is not there."""

    instruction_id: int
    attempts: int
    work: SettleTrade | Release | None


class RefusedInstruction(NamedTuple):
    """An instruction that the wallet refused: its attempts so far, why, when it is due again (0 if ``final``)."""

    instruction: Instruction
    attempts: int
    reason: str
    next_us: int
    final: bool


def release_operation(order_id: str, instruction_id: int) -> str:
    """The wallet's operation id of a RELEASE: the order's id, its last 48 bits replaced by the instruction's number.

    So a release repeated after a crash is the same operation, and its ledger entries stay in order of time.
    """
    return f"{order_id[:24]}{instruction_id:012x}"


class InstructionStore:
    """The tables ``settlement_instructions`` and ``trades``, as settlement uses them."""

    def __init__(self, pool: asyncpg.Pool[Any]) -> None:
        self._pool = pool

    async def pending(self, after_id: int, limit: int) -> list[Instruction]:
        """The next PENDING instructions above ``after_id``, in order."""
        return [_instruction(row) for row in await self._pool.fetch(_PENDING, after_id, limit)]

    async def every(self, after_id: int, limit: int) -> list[Instruction]:
        """The next instructions above ``after_id``, whatever their state, in order."""
        return [_instruction(row) for row in await self._pool.fetch(_EVERY, after_id, limit)]

    async def due(self, now_us: int, limit: int, except_ids: Sequence[int]) -> list[Instruction]:
        """RETRY instructions whose time has come, but for those in hand."""
        return [_instruction(row) for row in await self._pool.fetch(_DUE, now_us, limit, except_ids)]

    async def finish(self, done: Sequence[Instruction], settled_us: int) -> None:
        """Mark the trades of ``done`` SETTLED and delete the instructions."""
        trades = _trade_ids(done)
        await self._pool.execute(
            _FINISH,
            [instruction.instruction_id for instruction in done],
            trades,
            min(trades, default=_NO_ID),
            max(trades, default=_NO_ID),
            settled_us,
        )

    async def refuse(self, refused: Sequence[RefusedInstruction]) -> None:
        """Count an attempt of each: RETRY later, or FAILED together with its trade."""
        trades = _trade_ids([item.instruction for item in refused])
        await self._pool.execute(
            _REFUSE,
            [item.instruction.instruction_id for item in refused],
            [item.attempts for item in refused],
            [item.reason for item in refused],
            [item.next_us for item in refused],
            [item.final for item in refused],
            min(trades, default=_NO_ID),
            max(trades, default=_NO_ID),
        )


def _trade_ids(instructions: Sequence[Instruction]) -> list[str]:
    return [item.work.trade_id for item in instructions if isinstance(item.work, SettleTrade)]


def _instruction(row: asyncpg.Record) -> Instruction:
    number = row["instruction_id"]
    work: SettleTrade | Release | None = None
    if not row["settles"]:
        operation = release_operation(row["order_id"], number)
        work = Release(row["order_id"], row["owner_id"], row["asset"], row["amount"], operation, row["reason"])
    elif row["trade_id"] is not None:
        # The columns of the lateral query are the fields of SettleTrade, in order.
        work = SettleTrade(*tuple(row)[-len(SettleTrade._fields) :])
    return Instruction(number, row["attempts"], work)
