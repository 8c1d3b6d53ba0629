"""What the wallet can say about its own books, for reconciliation: SQL over schema ``wallet`` and nothing else.

Reads only, in pages, so that neither side ever holds more than a page of a large ledger.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import asyncpg

from trade_engine.wallet import entries
from trade_engine.wallet.funding import LedgerConnection, funding_differences
from trade_engine.wallet.ledger import OUTSIDE_ACCOUNT
from trade_engine.wallet.outage import TRANSPORT_ERRORS
from trade_engine.wallet.port import AUDIT_TIMEOUT_S, AuditedReservation, Difference, Settlement, WalletUnavailable
from trade_engine.wallet.service import PostgresWallet

_BALANCES: Final = """
    SELECT 'balance', 'user ' || user_id, asset,
        'balance: available ' || trim_scale(coalesce(b.available, 0)) || ', reserved '
            || trim_scale(coalesce(b.reserved, 0)),
        'entries: available ' || trim_scale(coalesce(e.available, 0)) || ', reserved '
            || trim_scale(coalesce(e.reserved, 0))
    FROM wallet.balances b
    FULL JOIN (
        SELECT user_id, asset, sum(available_delta) AS available, sum(reserved_delta) AS reserved
        FROM wallet.ledger_entries GROUP BY user_id, asset
    ) e USING (user_id, asset)
    WHERE coalesce(b.available, 0) <> coalesce(e.available, 0) OR coalesce(b.reserved, 0) <> coalesce(e.reserved, 0)"""
_ZERO_SUM: Final = """
    SELECT 'zero sum', 'all users', asset, 'entries: ' || trim_scale(sum(available_delta + reserved_delta)),
        'double entry: 0'
    FROM wallet.ledger_entries GROUP BY asset HAVING sum(available_delta + reserved_delta) <> 0"""
_DEPOSITS: Final = f"""
    SELECT 'deposits', 'all users', asset, 'balances with fees: ' || trim_scale(coalesce(b.amount, 0)),
        'deposits less withdrawals: ' || trim_scale(coalesce(d.amount, 0))
    FROM (
        SELECT asset, sum(available + reserved) AS amount FROM wallet.balances
        WHERE user_id <> '{OUTSIDE_ACCOUNT}' GROUP BY asset
    ) b
    FULL JOIN (
        SELECT asset, sum(available_delta) AS amount FROM wallet.ledger_entries
        WHERE type IN ('DEPOSIT', 'WITHDRAWAL') AND user_id <> '{OUTSIDE_ACCOUNT}' GROUP BY asset
    ) d USING (asset)
    WHERE coalesce(b.amount, 0) <> coalesce(d.amount, 0)"""
_RESERVED: Final = """
    SELECT 'reserved', 'user ' || user_id, asset, 'balance: reserved ' || trim_scale(coalesce(b.reserved, 0)),
        'reservations: ' || trim_scale(coalesce(r.remaining, 0))
    FROM wallet.balances b
    FULL JOIN (
        SELECT user_id, asset, sum(remaining) AS remaining FROM wallet.reservations GROUP BY user_id, asset
    ) r USING (user_id, asset)
    WHERE coalesce(b.reserved, 0) <> coalesce(r.remaining, 0)"""
_CHECKS: Final = (_BALANCES, _ZERO_SUM, _DEPOSITS, _RESERVED, *entries.EVERY)
_RESERVATIONS: Final = """
    SELECT order_id::TEXT, user_id::TEXT, asset, remaining * 100000000 AS remaining, epoch
    FROM wallet.reservations r WHERE order_id > $1 AND remaining > 0 ORDER BY r.order_id LIMIT $2"""
_SETTLEMENTS: Final = """
    SELECT p.trade_id::TEXT, -x.notional * 100000000 AS notional, x.quantity * 100000000 AS quantity,
        -x.buyer_fee * 100000000 AS buyer_fee, -x.seller_fee * 100000000 AS seller_fee,
        x.buyer::TEXT, x.seller::TEXT
    FROM (
        SELECT operation_id AS trade_id FROM wallet.ledger_entries
        WHERE operation_id > $1 AND line = 1 ORDER BY operation_id LIMIT $2
    ) p
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(e.reserved_delta) FILTER (WHERE e.line = 1), 0) AS notional,
            coalesce(sum(e.available_delta) FILTER (WHERE e.line = 2), 0) AS quantity,
            coalesce(sum(e.available_delta + e.reserved_delta) FILTER (WHERE e.line = 5), 0) AS buyer_fee,
            coalesce(sum(e.available_delta + e.reserved_delta) FILTER (WHERE e.line = 6), 0) AS seller_fee,
            (array_agg(e.user_id ORDER BY e.line) FILTER (WHERE e.line IN (1, 2)))[1] AS buyer,
            (array_agg(e.user_id ORDER BY e.line) FILTER (WHERE e.line IN (3, 4)))[1] AS seller
        FROM wallet.ledger_entries e WHERE e.operation_id = p.trade_id AND e.line <= 8
    ) x
    ORDER BY p.trade_id"""
_KNOWN: Final = """
    SELECT i.operation_id::TEXT FROM unnest($1::UUID[]) AS i(operation_id)
    WHERE EXISTS (SELECT FROM wallet.ledger_entries e WHERE e.operation_id = i.operation_id AND e.line IN (1, 12))"""
_EPOCH: Final = "SELECT epoch FROM wallet.fence"
_OWNER: Final = """
    SELECT user_id::TEXT, asset FROM wallet.reservations WHERE order_id = $1
    UNION ALL
    SELECT user_id::TEXT, asset FROM wallet.ledger_entries WHERE operation_id = $1 AND line = 11
    LIMIT 1"""
_TRADE: Final = """
    SELECT entry_id, line, user_id::TEXT, asset, available_after * 100000000 AS available,
        reserved_after * 100000000 AS reserved
    FROM wallet.ledger_entries WHERE operation_id = $1 AND line <= 6 ORDER BY line"""


async def ledger_checks(connection: LedgerConnection) -> list[Difference]:
    """What in the ledger does not agree with itself; ``connection`` is in a transaction, which gives one snapshot."""
    return [Difference(*row) for check in _CHECKS for row in await connection.fetch(check, timeout=AUDIT_TIMEOUT_S)]


class PostgresLedger(PostgresWallet):
    """The wallet on PostgreSQL with its books open: what reconciliation and the HTTP service read of it."""

    async def audit(self) -> list[Difference]:
        """What in the ledger does not agree with itself, from one snapshot.

        Raises:
            WalletUnavailable: the database did not answer.
        """
        try:
            async with (
                self._pool.acquire(timeout=self._timeout_s) as connection,
                connection.transaction(isolation="repeatable_read", readonly=True),
            ):
                await connection.execute("SET LOCAL jit = off; SET LOCAL work_mem = '64MB'")
                return await ledger_checks(connection) + await funding_differences(connection)
        except TRANSPORT_ERRORS as trouble:
            raise WalletUnavailable(f"wallet: {type(trouble).__name__}: {trouble}") from trouble

    async def reservations_after(self, order_id: str, limit: int) -> list[AuditedReservation]:
        """A page of reservations of which something is left, by order id.

        Raises:
            WalletUnavailable: the database did not answer.
        """
        rows = await self._call(self._timeout_s, _RESERVATIONS, order_id, limit)
        return [AuditedReservation(row[0], row[1], row[2], int(row[3]), row[4]) for row in rows]

    async def settlements_after(self, trade_id: str, limit: int) -> list[Settlement]:
        """A page of settled trades, by trade id.

        Raises:
            WalletUnavailable: the database did not answer.
        """
        rows = await self._call(self._timeout_s, _SETTLEMENTS, trade_id, limit)
        return [
            Settlement(row[0], int(row[1]), int(row[2]), int(row[3]), int(row[4]), row[5] or "", row[6] or "")
            for row in rows
        ]

    async def known(self, operation_ids: Sequence[str]) -> set[str]:
        """Which of these trades and releases the ledger has carried out.

        Raises:
            WalletUnavailable: the database did not answer.
        """
        return {row[0] for row in await self._call(self._timeout_s, _KNOWN, list(operation_ids))}

    async def current_epoch(self) -> int:
        """The highest epoch of a writer that was seen."""
        [row] = await self._call(self._timeout_s, _EPOCH)
        return int(row[0])

    async def owner_of(self, order_id: str) -> tuple[str, str] | None:
        """User and asset of an order's reservation, also of one that is empty; None if there never was one."""
        rows = await self._call(self._timeout_s, _OWNER, order_id)
        return (rows[0][0], rows[0][1]) if rows else None

    async def trade_rows(self, trade_id: str) -> list[asyncpg.Record]:
        """The two sides' entries of a settled trade, by line."""
        return await self._call(self._timeout_s, _TRADE, trade_id)
