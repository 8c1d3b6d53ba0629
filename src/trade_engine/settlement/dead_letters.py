"""Dead letters: instructions that the wallet refused for good, and what an operator may do about them (SPEC 6.1).

``retry`` gives an instruction its attempts back.  ``resolve`` gives up settling a trade: both sides get back what was
reserved for it, and the trade stays FAILED with the operator's reason.  Each is audited with its reason, in the same
transaction.  Neither ever moves a trade's money.
"""

from __future__ import annotations

from typing import Any, Final

import asyncpg
import msgspec

from trade_engine.domain.errors import InvalidRequest, NotFound, Refused, Unavailable
from trade_engine.settlement.instructions import Instruction, InstructionStore, release_operation
from trade_engine.wallet.port import AuditedWallet, Release, SettleTrade, WalletUnavailable, buyer_need, seller_need

_COLUMNS: Final = """
    SELECT instruction_id, kind::TEXT, trade_id::TEXT, order_id::TEXT, user_id::TEXT, asset,
        trim_scale(amount)::TEXT AS amount, reason, attempts, last_reason,
        (extract(epoch FROM created_at) * 1000000)::BIGINT AS created_us
    FROM settlement_instructions WHERE status = 'FAILED'"""
_LIST: Final = _COLUMNS + " AND instruction_id > $1 ORDER BY instruction_id LIMIT $2"
_ONE: Final = _COLUMNS + " AND instruction_id = $1"
_LOCK: Final = (
    "SELECT trade_id::TEXT FROM settlement_instructions WHERE instruction_id = $1 AND status = 'FAILED' FOR UPDATE"
)
_RETRY: Final = """
    UPDATE settlement_instructions SET status = 'RETRY', attempts = 0, next_attempt_at = now()
    WHERE instruction_id = $1"""
_TRADE_RETRIED: Final = "UPDATE trades SET settlement_status = 'PENDING' WHERE trade_id = $1"
_RESOLVE: Final = "DELETE FROM settlement_instructions WHERE instruction_id = $1"
_TRADE_RESOLVED: Final = "UPDATE trades SET settlement_status = 'FAILED', settlement_reason = $2 WHERE trade_id = $1"
_AUDIT: Final = "INSERT INTO admin_audit (actor, action, subject, reason, outcome) VALUES ($1, $2, $3, $4, $5)"
_REASON_MAX: Final = 400


class DeadLetter(msgspec.Struct):
    """An instruction that the wallet refused for good; the time in microseconds since 1970."""

    instruction_id: int
    kind: str
    trade_id: str | None
    order_id: str | None
    user_id: str | None
    asset: str | None
    amount: str | None
    reason: str
    attempts: int
    last_reason: str | None
    created_us: int


class DeadLetters:
    """Lists, shows, retries and resolves them."""

    def __init__(self, pool: asyncpg.Pool[Any], wallet: AuditedWallet) -> None:
        self._pool = pool
        self._wallet = wallet
        self._store = InstructionStore(pool)

    async def page(self, after_id: int = 0, limit: int = 100) -> list[DeadLetter]:
        """The next dead letters above ``after_id``, oldest first."""
        return [DeadLetter(*row) for row in await self._pool.fetch(_LIST, after_id, limit)]

    async def show(self, instruction_id: int) -> DeadLetter:
        """One dead letter.

        Raises:
            NotFound: DEAD_LETTER_NOT_FOUND.
        """
        row = await self._pool.fetchrow(_ONE, instruction_id)
        if row is None:
            raise _not_found(instruction_id)
        return DeadLetter(*row)

    async def retry(self, instruction_id: int, actor: str, reason: str) -> None:
        """Give it its attempts back; it is tried again at once.

        Raises:
            NotFound: DEAD_LETTER_NOT_FOUND.
            InvalidRequest: INVALID_REASON.
        """
        _check(reason)
        async with self._pool.acquire() as connection, connection.transaction():
            row = await connection.fetchrow(_LOCK, instruction_id)
            if row is None:
                raise _not_found(instruction_id)
            await connection.execute(_RETRY, instruction_id)
            if row["trade_id"] is not None:
                await connection.execute(_TRADE_RETRIED, row["trade_id"])
            await connection.execute(
                _AUDIT, actor, "dead_letter.retry", f"instruction {instruction_id}", reason, "to be tried again"
            )

    async def resolve(self, instruction_id: int, actor: str, reason: str) -> None:
        """Give up on it, for good: a trade's reserved funds go back to their owners.

        Raises:
            NotFound: DEAD_LETTER_NOT_FOUND.
            InvalidRequest: INVALID_REASON.
            Refused: ALREADY_SETTLED: the ledger has moved its money after all; retry it instead.
            Unavailable: WALLET_UNAVAILABLE; resolve it again later.
        """
        _check(reason)
        async with self._pool.acquire() as connection, connection.transaction():
            row = await connection.fetchrow(_LOCK, instruction_id)
            if row is None:
                raise _not_found(instruction_id)
            outcome = "dropped"
            [instruction] = await self._store.every(instruction_id - 1, 1)
            if isinstance(instruction.work, SettleTrade):
                outcome = await self._unwind(instruction, instruction.work)
            await connection.execute(_RESOLVE, instruction_id)
            if row["trade_id"] is not None:
                await connection.execute(_TRADE_RESOLVED, row["trade_id"], f"RESOLVED: {reason}")
            await connection.execute(
                _AUDIT, actor, "dead_letter.resolve", f"instruction {instruction_id}", reason, outcome
            )

    async def _unwind(self, instruction: Instruction, trade: SettleTrade) -> str:
        """Release both sides' reservations for a trade; in words what came of it."""
        number = instruction.instruction_id
        sides = (
            (trade.buyer_order_id, trade.buyer_user_id, trade.quote_asset, buyer_need(trade)),
            (trade.seller_order_id, trade.seller_user_id, trade.base_asset, seller_need(trade)),
        )
        releases = [Release(*side, release_operation(side[0], number), "resolved") for side in sides]
        try:
            if await self._wallet.known([trade.trade_id]):
                raise Refused("ALREADY_SETTLED", "the ledger has settled this trade: retry it instead")
            outcomes = await self._wallet.release_many(releases)
        except WalletUnavailable as error:
            raise Unavailable("WALLET_UNAVAILABLE", "the wallet does not answer; resolve it again later") from error
        return f"buyer's funds: {outcomes[0].code}, seller's funds: {outcomes[1].code}"


async def audit(pool: asyncpg.Pool[Any], actor: str, action: str, subject: str, reason: str, outcome: str) -> None:
    """Note what an operator did.

    Raises:
        InvalidRequest: INVALID_REASON.
    """
    _check(reason)
    await pool.execute(_AUDIT, actor, action, subject, reason, outcome)


def _check(reason: str) -> None:
    # PostgreSQL's text has no NUL.
    if not 0 < len(reason) <= _REASON_MAX or "\0" in reason:
        raise InvalidRequest(
            "INVALID_REASON",
            f"a reason has 1 to {_REASON_MAX} characters, and no NUL",
            field="reason",
            provided=reason[:100],
        )


def _not_found(instruction_id: int) -> NotFound:
    return NotFound("DEAD_LETTER_NOT_FOUND", "there is no such dead letter", field="id", provided=str(instruction_id))
