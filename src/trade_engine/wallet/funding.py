"""Deposits and withdrawals: a chain of their own, written with their entries, and what of the two does not agree.

SQL over schema ``wallet`` and nothing else.  Money comes into the books and leaves them in no other way.
"""

from __future__ import annotations

from typing import Any, Final, TypeAlias

import asyncpg
from asyncpg.pool import PoolConnectionProxy

from trade_engine.domain.chained import chain_fields
from trade_engine.domain.compared import sql_fields
from trade_engine.wallet.ledger import OUTSIDE_ACCOUNT
from trade_engine.wallet.port import AUDIT_TIMEOUT_S, Difference

#: A connection of the wallet's database, from a pool or not.
LedgerConnection: TypeAlias = "asyncpg.Connection[Any] | PoolConnectionProxy[Any]"

_PAGE: Final = 2_000
_LIMIT: Final = 100
_CHAIN: Final = """
    SELECT number, operation_id::TEXT, type::TEXT, user_id::TEXT, asset, trim_scale(amount)::TEXT AS amount,
        entry_id, microseconds(funded_at) AS funded_us, hash
    FROM wallet.funding WHERE number > $1 ORDER BY number LIMIT $2"""
_HEAD: Final = "SELECT number, hash FROM wallet.funding_head"
_ENTRIES: Final = f"""
    SELECT 'funding', f.type || ' ' || f.operation_id, f.asset,
        'entry: ' || CASE WHEN e.operation_id IS NULL THEN 'missing' ELSE {
    sql_fields(
        {
            "user_id": ("e.user_id", "f.user_id"),
            "asset": ("e.asset", "f.asset"),
            "type": ("e.type", "f.type"),
            "available_delta": ("e.available_delta", "f.amount"),
            "reserved_delta": ("e.reserved_delta", "0"),
            "entry_id": ("e.entry_id", "f.entry_id"),
            "created_at": ("e.created_at", "f.funded_at"),
            "reference_id": ("e.reference_id", "f.operation_id"),
            "description": ("e.description", "lower(f.type::TEXT)"),
        }
    )
} END AS wrong, 'chain: fact ' || f.number
    FROM wallet.funding f
    LEFT JOIN wallet.ledger_entries e
        ON e.operation_id = f.operation_id AND e.line = CASE f.type WHEN 'DEPOSIT' THEN 13 ELSE 15 END"""
_WRONG: Final = f"SELECT * FROM ({_ENTRIES}) x WHERE x.wrong <> 'entry: ' LIMIT {_LIMIT}"
_STRANGE: Final = f"""
    SELECT 'funding', e.type || ' ' || e.operation_id || ' of user ' || e.user_id, e.asset,
        'entry: available_delta is ' || trim_scale(e.available_delta), 'chain: none'
    FROM wallet.ledger_entries e
    LEFT JOIN wallet.funding f
        ON f.operation_id = e.operation_id AND e.line = CASE f.type WHEN 'DEPOSIT' THEN 13 ELSE 15 END
    WHERE (e.line IN (13, 15) OR (e.type IN ('DEPOSIT', 'WITHDRAWAL') AND e.line NOT IN (14, 16)))
        AND f.operation_id IS NULL
    LIMIT {_LIMIT}"""
_OTHER_SIDE: Final = f"""
    SELECT * FROM (
        SELECT 'funding', coalesce(o.type, e.type) || ' ' || coalesce(o.operation_id, e.operation_id),
            coalesce(o.asset, e.asset), 'the other side: ' || CASE WHEN o.operation_id IS NULL THEN 'missing' ELSE {
    sql_fields(
        {
            "user_id": ("o.user_id::TEXT", f"'{OUTSIDE_ACCOUNT}'"),
            "asset": ("o.asset", "e.asset"),
            "type": ("o.type", "e.type"),
            "available_delta": ("o.available_delta", "-e.available_delta"),
            "reserved_delta": ("o.reserved_delta", "0"),
            "created_at": ("o.created_at", "e.created_at"),
            "reference_id": ("o.reference_id", "e.operation_id"),
            "description": ("o.description", "e.description"),
        }
    )
} END AS wrong, 'entry: available_delta is ' || coalesce(trim_scale(e.available_delta)::TEXT, 'none')
        FROM (SELECT * FROM wallet.ledger_entries WHERE line IN (13, 15)) e
        FULL JOIN (SELECT * FROM wallet.ledger_entries WHERE line IN (14, 16)) o
            ON o.operation_id = e.operation_id AND o.line = e.line + 1
    ) x WHERE x.wrong <> 'the other side: ' LIMIT {_LIMIT}"""


async def funding_differences(connection: LedgerConnection) -> list[Difference]:
    """What of the chain and the entries does not agree; ``connection`` is in a transaction: one snapshot."""
    found = await _chain(connection)
    for check in (_WRONG, _STRANGE, _OTHER_SIDE):
        found += [Difference(*row) for row in await connection.fetch(check, timeout=AUDIT_TIMEOUT_S)]
    return found


async def _chain(connection: LedgerConnection) -> list[Difference]:
    """Each fact's hash, no number left out, the head at the end."""
    found: list[Difference] = []
    number, digest = 0, b""
    while rows := await connection.fetch(_CHAIN, number, _PAGE):
        for row in rows:
            if row["number"] != number + 1:
                found.append(_broken(f"fact {number + 1}", "missing", f"the next one is {row['number']}"))
            number = row["number"]
            fields = [str(value) for value in tuple(row)[:-1]]
            if chain_fields(digest, fields) != row["hash"]:
                found.append(_broken(f"fact {number}", "not the hash of what it holds", row["hash"].hex()))
            digest = row["hash"]
    head = await connection.fetchrow(_HEAD)
    if head is None or tuple(head) != (number, digest):
        shown = "none" if head is None else f"{head['number']} {head['hash'].hex()}"
        found.append(_broken("head", f"head: {shown}", f"last fact: {number} {digest.hex()}"))
    return found[:_LIMIT]


def _broken(subject: str, left: str, right: str) -> Difference:
    return Difference("funding", f"chain, {subject}", "", left, right)
