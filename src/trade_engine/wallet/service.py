"""The wallet on PostgreSQL: one call, one round trip, one transaction for a whole batch (DESIGN 5).

The rules live in the schema's functions (migrations, schema ``wallet``), which lock balances in sorted order and
decide each item on its own.  This module only carries arrays there and outcomes back, bounds the time, and tells
trouble of the database (``WalletUnavailable``) from refusals (outcomes).  It never retries what may have happened,
except a transaction that the database itself says it rolled back.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import asyncpg

from trade_engine.wallet.ledger import FEE_ACCOUNTS, refusal, trade_is_valid
from trade_engine.wallet.outage import TRANSPORT_ERRORS
from trade_engine.wallet.port import (
    MAX_AMOUNT,
    Balance,
    Entry,
    EntryType,
    Fence,
    Line,
    Outcome,
    Release,
    Reserve,
    SettleTrade,
    WalletUnavailable,
)

_FENCE: Final = "SELECT * FROM wallet.raise_fence($1)"
_RESERVE: Final = "SELECT * FROM wallet.reserve_many($1, $2, $3, $4, $5, $6, $7)"
_RELEASE: Final = "SELECT * FROM wallet.release_many($1, $2, $3, $4, $5, $6)"
_SETTLE: Final = "SELECT * FROM wallet.settle_many($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)"
_SETTLE_BY_USER: Final = _SETTLE.replace("settle_many", "settle_by_user")
_FUND: Final = "SELECT * FROM wallet.fund_many($1, $2, $3, $4, $5, $6)"
_BALANCES: Final = """
    SELECT asset, available * 100000000 AS available, reserved * 100000000 AS reserved
    FROM wallet.balances WHERE user_id = $1 ORDER BY asset"""
_ENTRIES: Final = """
    SELECT entry_id, operation_id::TEXT, line, type::TEXT, user_id::TEXT, asset,
        available_delta * 100000000 AS available_delta, reserved_delta * 100000000 AS reserved_delta,
        available_after * 100000000 AS available_after, reserved_after * 100000000 AS reserved_after,
        reference_id::TEXT, description
    FROM wallet.ledger_entries WHERE user_id = $1 AND entry_id < $2 ORDER BY entry_id DESC LIMIT $3"""

#: What ``wallet.pass_fence`` raises for an epoch that it does not believe.
_TOO_FAR: Final = "TE003"
#: The database says that it rolled the transaction back because of another one: it may be repeated.
_ROLLED_BACK: Final = (
    asyncpg.UniqueViolationError,
    asyncpg.DeadlockDetectedError,
    asyncpg.SerializationError,
)
#: What calls are named when they are counted.
_NAMES: Final = {
    _FENCE: "fence", _RESERVE: "reserve", _RELEASE: "release", _SETTLE: "settle", _FUND: "fund", _BALANCES: "balances",
    _ENTRIES: "entries",
}  # fmt: skip
_INVALID: Final[tuple[Any, ...]] = ("INVALID_AMOUNT", 0, 0)
_ATTEMPTS_MAX: Final = 5
#: How long a connection may take to give up a cancelled call before it is dropped.
_CANCEL_S: Final = 0.2


class PostgresWallet:
    """The wallet port on a pool of connections to the database that holds schema ``wallet``.

    ``reserve_timeout_s`` bounds ``reserve_many``, ``timeout_s`` all else, waiting for a connection included.
    ``fee_stripes`` (1 to 16): over how many fee accounts the calls of ``settle_many`` take turns.
    """

    def __init__(
        self,
        pool: asyncpg.Pool[Any],
        *,
        reserve_timeout_s: float = 0.5,
        timeout_s: float = 5.0,
        fee_stripes: int = 1,
    ) -> None:
        if not 1 <= fee_stripes <= len(FEE_ACCOUNTS):
            raise ValueError(f"fee_stripes must be 1 to {len(FEE_ACCOUNTS)}")
        self._pool = pool
        self._reserve_timeout_s = reserve_timeout_s
        self._timeout_s = timeout_s
        #: Told of each call: operation, ``ok`` or the name of what went wrong, seconds.
        self.on_called: Callable[[str, str, float], None] = lambda operation, outcome, seconds: None
        self._fee_accounts = itertools.cycle(FEE_ACCOUNTS[:fee_stripes])

    #: There is none: calls go to the database each time.
    breaker: None = None

    @property
    def is_out(self) -> bool:
        """Never: calls go to the database each time."""
        return False

    def condition(self) -> None:
        """As the database is."""

    async def aclose(self) -> None:
        """Nothing: the pool is its owner's."""

    async def reserve_many(self, items: Sequence[Reserve], epoch: int) -> list[Outcome]:
        """Reserve for a micro-batch, in order.

        Raises:
            WalletUnavailable: nothing is known of the outcome.
        """
        try:
            rows = await self._call(
                self._reserve_timeout_s,
                _RESERVE,
                epoch,
                [item.user_id for item in items],
                [item.asset for item in items],
                [_sendable(item.amount) for item in items],
                [item.order_id for item in items],
                [item.operation_id for item in items],
                [item.reason for item in items],
            )
        except asyncpg.PostgresError as error:
            if error.sqlstate != _TOO_FAR:
                raise
            return [refusal("EPOCH_TOO_FAR") for _ in items]
        return [
            Outcome("OK", int(row[1]), int(row[2]), item.order_id, item.amount)
            if row[0] == "OK"
            else refusal(row[0], int(row[1]), int(row[2]))
            for item, row in zip(items, rows, strict=True)
        ]

    async def raise_fence(self, epoch: int) -> Fence:
        """Refuse reserves of lower epochs from now on; waits for those under way.

        Raises:
            WalletUnavailable: nothing is known of the outcome.
        """
        [row] = await self._call(self._timeout_s, _FENCE, epoch)
        return Fence(row[0], row[1])

    async def release_many(self, items: Sequence[Release]) -> list[Outcome]:
        """Release, each item on its own.

        Raises:
            WalletUnavailable: nothing is known of the outcome.
        """
        rows = await self._call(
            self._timeout_s,
            _RELEASE,
            [item.order_id for item in items],
            [item.user_id for item in items],
            [item.asset for item in items],
            [None if item.amount is None else _sendable(item.amount) for item in items],
            [item.operation_id for item in items],
            [item.reason for item in items],
        )
        return [
            Outcome("OK", int(row[1]), int(row[2]), item.order_id, int(row[3])) if row[0] == "OK" else refusal(row[0])
            for item, row in zip(items, rows, strict=True)
        ]

    async def settle_many(self, items: Sequence[SettleTrade]) -> list[Outcome]:
        """Settle trades, each atomic on its own.

        Raises:
            WalletUnavailable: nothing is known of the outcome.
        """
        valid = [item for item in items if trade_is_valid(item)]
        answers: list[Any] = []
        # In order: those whose orders are named in one call, any other in one of its own.
        for is_named, run in itertools.groupby(valid, lambda item: bool(item.buyer_order_id and item.seller_order_id)):
            if is_named:
                trades = list(run)
                columns = [[getattr(item, name) for item in trades] for name in SettleTrade._fields]
                answers += await self._call(self._timeout_s, _SETTLE, *columns, next(self._fee_accounts))
                continue
            for item in run:
                orders = [item.buyer_order_id or None, item.seller_order_id or None]
                values = [*item[: -len(orders)], *orders]
                answers += await self._call(self._timeout_s, _SETTLE_BY_USER, *values, next(self._fee_accounts))
        rows = iter(answers)
        outcomes = []
        for item in items:
            row = next(rows) if trade_is_valid(item) else _INVALID
            if row[0] == "OK":
                outcomes.append(Outcome("OK", int(row[1]), int(row[2]), amount=item.quantity))
            else:
                outcomes.append(refusal(row[0]))
        return outcomes

    async def deposit(self, user_id: str, asset: str, amount: int, operation_id: str) -> Outcome:
        """Credit a user from the outside account.

        Raises:
            WalletUnavailable: nothing is known of the outcome.
        """
        [outcome] = await self.fund_many(EntryType.DEPOSIT, [(user_id, asset, amount, operation_id)])
        return outcome

    async def withdraw(self, user_id: str, asset: str, amount: int, operation_id: str) -> Outcome:
        """Debit a user's available balance to the outside account.

        Raises:
            WalletUnavailable: nothing is known of the outcome.
        """
        [outcome] = await self.fund_many(EntryType.WITHDRAWAL, [(user_id, asset, amount, operation_id)])
        return outcome

    async def fund_many(self, kind: EntryType, items: Sequence[tuple[str, str, int, str]]) -> list[Outcome]:
        """Deposit or withdraw for many: (user, asset, amount, operation id) each.

        Raises:
            WalletUnavailable: nothing is known of the outcome.
        """
        rows = await self._call(
            self._timeout_s,
            _FUND,
            [kind.value] * len(items),
            [item[0] for item in items],
            [item[1] for item in items],
            [_sendable(item[2]) for item in items],
            [item[3] for item in items],
            [kind.value.lower()] * len(items),
        )
        return [
            Outcome("OK", int(row[1]), int(row[2]), amount=item[2]) if row[0] == "OK" else refusal(row[0])
            for item, row in zip(items, rows, strict=True)
        ]

    async def balances(self, user_id: str) -> list[Balance]:
        """All balances of a user, sorted by asset.

        Raises:
            WalletUnavailable: the wallet did not answer.
        """
        rows = await self._call(self._timeout_s, _BALANCES, user_id)
        return [Balance(row[0], int(row[1]), int(row[2])) for row in rows]

    async def ledger(self, user_id: str, before_id: int = MAX_AMOUNT, limit: int = 100) -> list[Entry]:
        """A page of a user's ledger, newest first: entries below ``before_id``.

        Raises:
            WalletUnavailable: the wallet did not answer.
        """
        rows = await self._call(self._timeout_s, _ENTRIES, user_id, before_id, limit)
        return [
            Entry(
                row["entry_id"],
                row["operation_id"],
                Line(
                    row["line"],
                    EntryType(row["type"]),
                    row["user_id"],
                    row["asset"],
                    int(row["available_delta"]),
                    int(row["reserved_delta"]),
                ),
                int(row["available_after"]),
                int(row["reserved_after"]),
                row["reference_id"],
                row["description"],
            )
            for row in rows
        ]

    async def _call(self, limit_s: float, statement: str, *arguments: Any) -> list[asyncpg.Record]:
        """Run one statement within ``limit_s``; repeat it if the database rolled it back for another's sake."""
        started_s, outcome = time.perf_counter(), "error"
        try:
            async with asyncio.timeout(limit_s):
                for _ in range(_ATTEMPTS_MAX):
                    try:
                        rows = await self._fetch(limit_s, statement, arguments)
                    except _ROLLED_BACK:
                        continue
                    outcome = "ok"
                    return rows
        except TRANSPORT_ERRORS as trouble:
            outcome = type(trouble).__name__
            raise WalletUnavailable(f"wallet: {type(trouble).__name__}: {trouble}") from trouble
        finally:
            self.on_called(_NAMES.get(statement, "other"), outcome, time.perf_counter() - started_s)
        raise WalletUnavailable(f"wallet: rolled back {_ATTEMPTS_MAX} times by other transactions")

    async def _fetch(self, limit_s: float, statement: str, arguments: Sequence[Any]) -> list[asyncpg.Record]:
        connection = await self._pool.acquire(timeout=limit_s)
        try:
            return await connection.fetch(statement, *arguments)
        finally:
            await self._pool.release(connection, timeout=_CANCEL_S)


def _sendable(amount: int) -> int:
    """An amount that no movement can have becomes 0, which the wallet refuses as INVALID_AMOUNT."""
    return amount if 0 < amount <= MAX_AMOUNT else 0
