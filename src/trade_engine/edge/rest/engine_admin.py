"""Routes of the engine for operators (role admin): any order, where the engine is, and who did what."""

from collections.abc import Mapping
from typing import Any

import msgspec

from trade_engine.domain.errors import InvalidRequest
from trade_engine.domain.ids import canonical_uuid
from trade_engine.edge.bodies import decode, read_order_id
from trade_engine.edge.rest.audited import audited
from trade_engine.edge.rest.call import Answer, Call, whole_number
from trade_engine.edge.shapes import ReasonText, StateWord, Symbol, Time
from trade_engine.edge.times import show_time
from trade_engine.edge.views import CancelledView, show_order
from trade_engine.storage.oversight import AuditEntry, audit_entries, settlement_backlog


class MarketStatusView(msgspec.Struct):
    """Where a market is: its state and its last committed event."""

    symbol: Symbol
    state: StateWord
    sequence: int


class EngineView(msgspec.Struct):
    """Where the engine is; ``trouble`` is null while it works."""

    trouble: str | None
    epoch: int
    sequence: int
    queue_depth: int
    last_batch: int
    live_orders: int
    pending_settlements: int
    settlement_lag_ms: int
    dead_letters: int
    markets: list[MarketStatusView]


class AuditView(msgspec.Struct):
    """What an operator did, and why."""

    id: int
    done_at: Time
    actor: str
    action: str
    subject: str
    reason: str
    outcome: str


class ReloadBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /admin/reload: why."""

    reason: ReasonText


class ReloadView(msgspec.Struct):
    """What became of the configuration that was read again; ``refused`` has markets, and why they stay."""

    applied: list[str]
    needs_restart: list[str]
    refused: dict[str, str]


_reason_decoder = msgspec.json.Decoder(ReloadBody)


async def admin_order(call: Call) -> Answer:
    """Look up the order of any user."""
    order = await call.services.desk.find(read_order_id(call.path("order_id")), None)
    return Answer(show_order(order, call.services.markets.numbered(order.market_id)))


async def admin_cancel(call: Call) -> Answer:
    """Cancel the order of any user.

    Audited.
    """
    order_id, reason = read_order_id(call.path("order_id")), call.query.get("reason", "")
    async with audited(call, "order.cancel", order_id, reason):
        order = await call.services.desk.cancel(order_id, None)
    return Answer(show_order(order, call.services.markets.numbered(order.market_id)))


async def admin_cancel_all(call: Call) -> Answer:
    """Cancel the orders of a user, a market or all.

    Every open order that ``user_id`` and ``symbol`` leave; how many there were.  With neither it needs
    ``confirm=ALL``.  Audited.
    """
    given = call.query
    market = call.services.markets.named(given["symbol"]) if "symbol" in given else None
    user_id = canonical_uuid(given["user_id"]) if "user_id" in given else None
    if user_id is None and "user_id" in given:
        raise InvalidRequest(
            "INVALID_PARAMETER", "user_id must be a UUID", field="user_id", provided=given["user_id"][:100]
        )
    if user_id is None and market is None and given.get("confirm") != "ALL":
        message = "this ends every order of the venue: name user_id or symbol, or say confirm=ALL"
        raise InvalidRequest("CONFIRMATION_NEEDED", message, field="confirm", provided=given.get("confirm", "")[:100])
    subject = f"orders of {user_id or 'everybody'} in {market.symbol if market is not None else 'all markets'}"
    async with audited(call, "order.cancel_all", subject, given.get("reason", "")):
        return Answer(CancelledView(await call.services.desk.cancel_all(user_id, market)))


async def engine_status(call: Call) -> Answer:
    """Look up the state of the engine.

    Sequence, queue, markets, and what waits for settlement.
    """
    status = call.services.operations.status()
    backlog = await settlement_backlog(call.services.backoffice.pool)
    return Answer(
        EngineView(
            trouble=status.trouble,
            epoch=status.epoch,
            sequence=status.sequence,
            queue_depth=status.waiting,
            last_batch=status.last_batch,
            live_orders=status.live_orders,
            pending_settlements=backlog.pending,
            settlement_lag_ms=backlog.lag_us // 1000,
            dead_letters=backlog.dead_letters,
            markets=[MarketStatusView(m.symbol, m.state.name, m.sequence) for m in status.markets],
        )
    )


async def reload_options(call: Call) -> Answer:
    """Set the options anew.

    Reads the configuration again: log level, rate limits and markets change at once, the answer names what needs a
    restart.  Audited.
    """
    body = decode(_reason_decoder, call.body)
    async with audited(call, "config.reload", "configuration", body.reason):
        done = await call.services.backoffice.reload()
    return Answer(ReloadView(done.applied, done.needs_restart, done.refused))


async def list_audit(call: Call) -> Answer:
    """List what operators did.

    Newest first; further pages by cursor.
    """
    given = call.query
    limit = whole_number(given, "limit", 100, 1, 500)
    entries = await audit_entries(call.services.backoffice.pool, _cursor(given), limit + 1)
    cursor = str(entries[limit - 1].audit_id) if len(entries) > limit else None
    meta: dict[str, Any] = {"next_cursor": cursor}
    return Answer([_show_entry(entry) for entry in entries[:limit]], meta=meta)


def _cursor(given: Mapping[str, str]) -> int | None:
    text = given.get("cursor")
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        message = "cursor must be a next_cursor of an earlier page"
        raise InvalidRequest("INVALID_CURSOR", message, field="cursor", provided=text[:100])
    return int(text)


def _show_entry(entry: AuditEntry) -> AuditView:
    return AuditView(
        id=entry.audit_id,
        done_at=show_time(entry.done_us),
        actor=entry.actor,
        action=entry.action,
        subject=entry.subject,
        reason=entry.reason,
        outcome=entry.outcome,
    )
