"""Reconciliation through the wallet's port: the engine's tables against a ledger that may be anywhere (SPEC 6.3).

Both sides are read in order of their ids, page by page, and merged, so that neither is ever held whole.  They are read
at slightly different moments: what is in flight then differs once, and in another way or not at all the next time.
Nothing here changes anything.
"""

from __future__ import annotations

import bisect
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final, NamedTuple, TypeVar

import asyncpg

from trade_engine.domain.ids import uuid7_floor
from trade_engine.domain.scale import format_units
from trade_engine.settlement.instructions import InstructionStore
from trade_engine.wallet.port import (
    AuditedReservation,
    AuditedWallet,
    Difference,
    Release,
    Settlement,
    SettleTrade,
    buyer_need,
    seller_need,
)

_Row = TypeVar("_Row", bound=tuple[Any, ...])
_Other = TypeVar("_Other", bound=tuple[Any, ...])

_HOLDS: Final = """
    SELECT o.order_id::TEXT, o.user_id::TEXT, CASE o.side WHEN 'BUY' THEN m.quote ELSE m.base END AS asset,
        (o.hold * 100000000)::BIGINT AS hold
    FROM orders o JOIN markets m ON m.market_id = o.market_id
    WHERE o.order_id > $1 AND o.is_open AND o.hold > 0 AND o.linked_sequence NOT BETWEEN 1 AND o.sequence
    ORDER BY o.order_id LIMIT $2"""
#: Second legs of pairs whose first one has ended: its reservation is theirs.
_HOLDS_OF_OTHERS: Final = """
    SELECT funding_order(o.order_id)::TEXT, o.user_id::TEXT,
        CASE o.side WHEN 'BUY' THEN m.quote ELSE m.base END AS asset, (o.hold * 100000000)::BIGINT AS hold
    FROM orders o JOIN markets m ON m.market_id = o.market_id
    WHERE o.is_open AND o.hold > 0 AND o.linked_sequence BETWEEN 1 AND o.sequence"""
_TRADES: Final = """
    SELECT trade_id::TEXT, settlement_status::TEXT, coalesce(settlement_reason LIKE 'RESOLVED:%', FALSE) AS resolved,
        (notional * 100000000)::BIGINT AS notional, (quantity * 100000000)::BIGINT AS quantity,
        (buyer_fee * 100000000)::BIGINT AS buyer_fee, (seller_fee * 100000000)::BIGINT AS seller_fee,
        buyer_user_id::TEXT, seller_user_id::TEXT
    FROM trades t WHERE trade_id > $1 ORDER BY t.trade_id LIMIT $2"""
_FIRST_TRADE: Final = "SELECT min(trade_id::TEXT) FROM (SELECT trade_id FROM trades ORDER BY trade_id LIMIT 1) t"
#: Trades of these spans are in files, or on their way there.
_ARCHIVED: Final = """
    SELECT s.low_at, s.high_at FROM archived_partitions a CROSS JOIN LATERAL partition_span(a.partition_name) s
    WHERE s.parent = 'trades' AND a.restored_at IS NULL
    UNION
    SELECT s.low_at, s.high_at FROM pg_class c CROSS JOIN LATERAL partition_span(c.relname) s
    WHERE s.parent = 'trades' AND c.relkind = 'r' AND c.relnamespace = 'archive'::REGNAMESPACE
    ORDER BY 1"""
_ORDERS_THERE: Final = "SELECT order_id::TEXT FROM orders WHERE order_id = ANY ($1::UUID[])"
_FIRST_ID: Final = "00000000-0000-0000-0000-000000000000"
_PAGE: Final = 2_000
_KNOWN_PAGE: Final = 1_000


class _Hold(NamedTuple):
    order_id: str
    user_id: str
    asset: str
    amount: int


class _Traded(NamedTuple):
    trade_id: str
    status: str
    resolved: bool
    notional: int
    quantity: int
    buyer_fee: int
    seller_fee: int
    buyer_user_id: str
    seller_user_id: str


class Excess(NamedTuple):
    """A reservation that holds more than the engine needs; ``placed`` says whether its order is stored."""

    reservation: AuditedReservation
    needed: int
    placed: bool


class Findings(NamedTuple):
    """What one comparison found."""

    differences: list[Difference]
    excess: list[Excess]


async def compare(pool: asyncpg.Pool[Any], wallet: AuditedWallet) -> Findings:
    """Compare everything once: the ledger with itself, reservations with needs, trades with settlements.

    Raises:
        WalletUnavailable: the wallet did not answer.
        OSError, asyncpg.PostgresError: the database did not.
    """
    differences = list(await wallet.audit())
    reservations = await compare_reservations(pool, wallet)
    differences += reservations.differences
    differences += await _compare_trades(pool, wallet)
    return Findings(differences, reservations.excess)


async def compare_reservations(pool: asyncpg.Pool[Any], wallet: AuditedWallet) -> Findings:
    """Reservations against what open orders, unsettled trades and waiting releases need.

    Raises:
        WalletUnavailable: the wallet did not answer.
        OSError, asyncpg.PostgresError: the database did not.
    """
    needs = await _waiting(pool, wallet)
    for row in await pool.fetch(_HOLDS_OF_OTHERS):
        _add(needs, _Hold(*row))

    async def holds(after: str, limit: int) -> list[_Hold]:
        return [_Hold(*row) for row in await pool.fetch(_HOLDS, after, limit)]

    differences: list[Difference] = []
    surplus: list[tuple[AuditedReservation, int]] = []
    async for order_id, hold, held in _merged(_paged(holds), _paged(wallet.reservations_after)):
        need = needs.amounts.pop(order_id, None)
        if order_id in needs.waived:
            continue
        needed = (hold.amount if hold else 0) + (need.amount if need else 0)
        owner = hold or need or held
        if owner is None or (held is not None and held[1:4] == (owner.user_id, owner.asset, needed)):
            continue
        differences.append(_reservation_difference(order_id, owner, needed, held))
        if held is not None and held.remaining > needed:
            surplus.append((held, needed))
    for order_id, need in needs.amounts.items():
        if order_id not in needs.waived and need.amount:
            differences.append(_reservation_difference(order_id, need, need.amount, None))
    there = {row[0] for row in await pool.fetch(_ORDERS_THERE, [held.order_id for held, _ in surplus])}
    return Findings(differences, [Excess(held, needed, held.order_id in there) for held, needed in surplus])


class _Needs(NamedTuple):
    #: By order id.
    amounts: dict[str, _Hold]
    #: Orders all of whose reservation is about to be released.
    waived: set[str]


async def _waiting(pool: asyncpg.Pool[Any], wallet: AuditedWallet) -> _Needs:
    """What instructions need that the ledger has not carried out yet."""
    store = InstructionStore(pool)
    needs = _Needs({}, set())
    after = 0
    while page := await store.every(after, _KNOWN_PAGE):
        after = page[-1].instruction_id
        works = [item.work for item in page if item.work is not None]
        known = await wallet.known([_operation(work) for work in works])
        for work in works:
            if isinstance(work, Release) and work.amount is None:
                needs.waived.add(work.order_id)
            elif _operation(work) not in known:
                for part in _parts(work):
                    _add(needs, part)
    return needs


def _add(needs: _Needs, part: _Hold) -> None:
    before = needs.amounts.get(part.order_id)
    needs.amounts[part.order_id] = part._replace(amount=part.amount + (before.amount if before else 0))


def _operation(work: SettleTrade | Release) -> str:
    return work.trade_id if isinstance(work, SettleTrade) else work.operation_id


def _parts(work: SettleTrade | Release) -> list[_Hold]:
    if isinstance(work, Release):
        return [_Hold(work.order_id, work.user_id, work.asset, work.amount or 0)]
    return [
        _Hold(work.buyer_order_id, work.buyer_user_id, work.quote_asset, buyer_need(work)),
        _Hold(work.seller_order_id, work.seller_user_id, work.base_asset, seller_need(work)),
    ]


def _reservation_difference(
    order_id: str, owner: _Hold | AuditedReservation, needed: int, held: AuditedReservation | None
) -> Difference:
    wallet_says = "nothing" if held is None else f"{format_units(held.remaining)} {held.asset} of user {held.user_id}"
    return Difference(
        "reservations",
        f"order {order_id} of user {owner.user_id}",
        owner.asset,
        f"engine: needs {format_units(needed)}",
        f"wallet: has reserved {wallet_says}",
    )


async def _compare_trades(pool: asyncpg.Pool[Any], wallet: AuditedWallet) -> list[Difference]:
    """Trades that the engine keeps against what the ledger moved for them."""
    store = InstructionStore(pool)
    instructed: set[str] = set()
    after_id = 0
    while page := await store.every(after_id, _PAGE):
        after_id = page[-1].instruction_id
        instructed.update(item.work.trade_id for item in page if isinstance(item.work, SettleTrade))
    spans = await _archived_spans(pool)
    # Nothing is compared before the first trade that is not in the archive.
    first = await pool.fetchval(_FIRST_TRADE) or (spans[-1][1] if spans else _FIRST_ID)
    start = f"{first[:13]}-0000-0000-000000000000"

    async def trades(after: str, limit: int) -> list[_Traded]:
        return [_Traded(*row) for row in await pool.fetch(_TRADES, after, limit)]

    found = []
    merged = _merged(_paged(trades, start), _paged(wallet.settlements_after, start))
    async for trade_id, trade, settled in merged:
        if trade is None and _is_within(trade_id, spans):
            continue
        wrong = _trade_sides(trade, settled, instructed=trade_id in instructed)
        if wrong is not None:
            found.append(Difference("trades", f"trade {trade_id}", "", f"engine: {wrong[0]}", f"wallet: {wrong[1]}"))
    return found


async def _archived_spans(pool: asyncpg.Pool[Any]) -> list[tuple[str, str]]:
    """Where trades are archived, ids from and to, those that touch taken together; in order."""
    spans: list[tuple[str, str]] = []
    for row in await pool.fetch(_ARCHIVED):
        low, high = (uuid7_floor(round(row[name].timestamp()) * 1_000_000) for name in ("low_at", "high_at"))
        if spans and spans[-1][1] >= low:
            spans[-1] = (spans[-1][0], max(high, spans[-1][1]))
        else:
            spans.append((low, high))
    return spans


def _is_within(trade_id: str, spans: list[tuple[str, str]]) -> bool:
    place = bisect.bisect_right(spans, (trade_id, "~")) - 1
    return place >= 0 and trade_id < spans[place][1]


def _trade_sides(trade: _Traded | None, settled: Settlement | None, *, instructed: bool) -> tuple[str, str] | None:
    """What engine and wallet say, if that does not agree."""
    if trade is None:
        return "does not know it", f"moved {_moved(settled)}"
    if settled is not None and trade[3:] != _with_users(settled, trade)[1:]:
        return f"{trade.status}, {_moved(trade)}", f"moved {_moved(settled)}"
    if settled is not None and trade.resolved:
        return "resolved without settling it", f"moved {_moved(settled)}"
    if settled is None and trade.status == "SETTLED":
        return f"SETTLED, {_moved(trade)}", "does not know it"
    if not instructed and not trade.resolved and trade.status != "SETTLED":
        return f"{trade.status}, no instruction will settle it", "moved it" if settled else "does not know it"
    return None


def _with_users(settled: Settlement, trade: _Traded) -> Settlement:
    """A settlement whose users an older wallet did not tell, with those of the trade."""
    return settled._replace(
        buyer_user_id=settled.buyer_user_id or trade.buyer_user_id,
        seller_user_id=settled.seller_user_id or trade.seller_user_id,
    )


def _moved(row: _Traded | Settlement | None) -> str:
    if row is None:
        return "nothing"
    return (
        f"{format_units(row.quantity)} for {format_units(row.notional)},"
        f" fees {format_units(row.buyer_fee)} and {format_units(row.seller_fee)},"
        f" from {row.seller_user_id or 'somebody'} to {row.buyer_user_id or 'somebody'}"
    )


async def _paged(fetch: Callable[[str, int], Awaitable[list[_Row]]], after: str = _FIRST_ID) -> AsyncIterator[_Row]:
    """All rows of a listing by id, which is each row's first field."""
    while page := await fetch(after, _PAGE):
        for row in page:
            yield row
        after = page[-1][0]


async def _merged(
    left: AsyncIterator[_Row], right: AsyncIterator[_Other]
) -> AsyncIterator[tuple[str, _Row | None, _Other | None]]:
    """Two listings in order of their ids, side by side."""
    a, b = await anext(left, None), await anext(right, None)
    while a is not None or b is not None:
        key: str = min(row[0] for row in (a, b) if row is not None)
        of_a = a if a is not None and a[0] == key else None
        of_b = b if b is not None and b[0] == key else None
        yield key, of_a, of_b
        if of_a is not None:
            a = await anext(left, None)
        if of_b is not None:
            b = await anext(right, None)
