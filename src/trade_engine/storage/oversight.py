"""What operators read: the record of what they did, and how far settlement is behind.  It writes nothing."""

from typing import NamedTuple

from trade_engine.storage.types import Pool


class AuditEntry(NamedTuple):
    """One line of the audit."""

    audit_id: int
    done_us: int
    actor: str
    action: str
    subject: str
    reason: str
    outcome: str


class Backlog(NamedTuple):
    """What settlement has still to do."""

    pending: int
    #: Age of the oldest of them.
    lag_us: int
    dead_letters: int


async def audit_entries(pool: Pool, before: int | None, limit: int) -> list[AuditEntry]:
    """A page of the audit, newest first; ``before`` is the id that the last page ended with."""
    rows = await pool.fetch(
        "SELECT audit_id, (extract(epoch FROM done_at) * 1000000)::BIGINT, actor, action, subject, reason, outcome"
        " FROM admin_audit WHERE $1::BIGINT IS NULL OR audit_id < $1 ORDER BY audit_id DESC LIMIT $2",
        before,
        limit,
    )
    return [AuditEntry(*row) for row in rows]


async def settlement_backlog(pool: Pool) -> Backlog:
    """How far settlement is behind, now."""
    row = await pool.fetchrow(
        "SELECT count(*) FILTER (WHERE status <> 'FAILED'), coalesce(extract(epoch FROM clock_timestamp()"
        " - min(created_at) FILTER (WHERE status <> 'FAILED')) * 1000000, 0)::BIGINT,"
        " count(*) FILTER (WHERE status = 'FAILED') FROM settlement_instructions"
    )
    return Backlog(0, 0, 0) if row is None else Backlog(row[0], max(0, row[1]), row[2])


async def stream_id(pool: Pool) -> str:
    """Which stream of events this database tells; a restored backup gets a new one."""
    found: str = await pool.fetchval("SELECT stream_id::TEXT FROM event_relay")
    return found
