"""The table of dead-man's switches: written when one is armed, put off or disarmed, read when the engine starts."""

from typing import Final, NamedTuple

from trade_engine.storage.types import Pool

_ARM: Final = """
    INSERT INTO cancel_timers (user_id, market_id, due_at) VALUES ($1, $2, now() + $3 * INTERVAL '1 second')
    ON CONFLICT (user_id, market_id) DO UPDATE SET due_at = excluded.due_at
    RETURNING (extract(epoch FROM due_at) * 1000000)::BIGINT"""
_CALL_OFF: Final = "DELETE FROM cancel_timers WHERE user_id = $1 AND market_id = $2"
_DONE: Final = """
    DELETE FROM cancel_timers
    WHERE user_id = $1 AND market_id = $2 AND (extract(epoch FROM due_at) * 1000000)::BIGINT = $3"""
_ALL: Final = """
    SELECT user_id::TEXT, market_id, (extract(epoch FROM due_at) * 1000000)::BIGINT AS due_us,
        extract(epoch FROM due_at - now())::FLOAT8 AS left_s
    FROM cancel_timers ORDER BY due_at"""


class StoredTimer(NamedTuple):
    """One switch; ``market_id`` 0 is all markets, ``left_s`` below 0 if it is overdue."""

    user_id: str
    market_id: int
    due_us: int
    left_s: float


async def arm(pool: Pool, user_id: str, market_id: int, timeout_s: int) -> int:
    """Have it due so many seconds from now; when that is, microseconds since 1970."""
    due_us: int = await pool.fetchval(_ARM, user_id, market_id, timeout_s)
    return due_us


async def call_off(pool: Pool, user_id: str, market_id: int) -> None:
    """Have it due never."""
    await pool.execute(_CALL_OFF, user_id, market_id)


async def forget(pool: Pool, user_id: str, market_id: int, due_us: int) -> None:
    """Let go of one that was carried out, unless it was armed again meanwhile."""
    await pool.execute(_DONE, user_id, market_id, due_us)


async def stored(pool: Pool) -> list[StoredTimer]:
    """All that are armed, soonest first."""
    return [StoredTimer(*row) for row in await pool.fetch(_ALL)]
