"""What a user will receive once his trades are settled: shown as ``pending`` beside his balances (SPEC 4.5).

Anybody may ask for his own, as often as for balances, so the work must not grow with what others have to be settled:
his own trades are looked at from the oldest instruction that waits on, along his indexes; dead letters, which may be as
old as they like and are few, are looked at one by one.
"""

from __future__ import annotations

from typing import Any, Final

import asyncpg

#: With more dead letters than this, which somebody should have been woken for, only so many of them are looked at.
DEAD_LETTERS_MAX: Final = 10_000

# Trades have their ids, and instructions their numbers, in the order in which they happened.
PROCEEDS: Final = f"""
    WITH oldest AS MATERIALIZED (
        SELECT trade_id FROM settlement_instructions WHERE kind = 'SETTLE' AND status <> 'FAILED'
        ORDER BY instruction_id LIMIT 1
    ), unsettled AS (
        SELECT * FROM trades
        WHERE buyer_user_id = $1 AND trade_id >= (SELECT trade_id FROM oldest) AND settlement_status = 'PENDING'
        UNION ALL
        SELECT * FROM trades
        WHERE seller_user_id = $1 AND trade_id >= (SELECT trade_id FROM oldest) AND settlement_status = 'PENDING'
            AND buyer_user_id <> $1
        UNION ALL
        SELECT t.* FROM (
            SELECT trade_id FROM settlement_instructions WHERE status = 'FAILED' AND kind = 'SETTLE'
            LIMIT {DEAD_LETTERS_MAX}
        ) i CROSS JOIN LATERAL (
            SELECT * FROM trades x
            WHERE x.trade_id = i.trade_id AND (x.buyer_user_id = $1 OR x.seller_user_id = $1) OFFSET 0
        ) t
    )
    SELECT v.asset, (sum(v.amount) * 100000000)::NUMERIC AS amount
    FROM unsettled t
    JOIN markets m ON m.market_id = t.market_id
    CROSS JOIN LATERAL (VALUES
        (t.buyer_user_id, m.base, t.quantity - CASE WHEN t.buyer_fee_asset = m.base THEN t.buyer_fee ELSE 0 END),
        (t.seller_user_id, m.quote, t.notional - CASE WHEN t.seller_fee_asset = m.quote THEN t.seller_fee ELSE 0 END)
    ) AS v(user_id, asset, amount)
    WHERE v.user_id = $1
    GROUP BY v.asset
    ORDER BY v.asset"""


async def pending_proceeds(pool: asyncpg.Pool[Any], user_id: str) -> dict[str, int]:
    """What the user's trades that are not settled yet will pay him, after fees: units of 1e-8 by asset."""
    return {row["asset"]: int(row["amount"]) for row in await pool.fetch(PROCEEDS, user_id)}
