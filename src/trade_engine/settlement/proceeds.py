"""What a user will receive once his trades are settled: shown as ``pending`` beside his balances (SPEC 4.5)."""

from __future__ import annotations

from typing import Any, Final

import asyncpg

_PROCEEDS: Final = """
    SELECT v.asset, (sum(v.amount) * 100000000)::NUMERIC AS amount
    FROM settlement_instructions i
    CROSS JOIN LATERAL (
        SELECT x.* FROM trades x
        WHERE x.trade_id = i.trade_id AND (x.buyer_user_id = $1 OR x.seller_user_id = $1) OFFSET 0
    ) t
    JOIN markets m ON m.market_id = t.market_id
    CROSS JOIN LATERAL (VALUES
        (t.buyer_user_id, m.base, t.quantity - CASE WHEN t.buyer_fee_asset = m.base THEN t.buyer_fee ELSE 0 END),
        (t.seller_user_id, m.quote, t.notional - CASE WHEN t.seller_fee_asset = m.quote THEN t.seller_fee ELSE 0 END)
    ) AS v(user_id, asset, amount)
    WHERE i.kind = 'SETTLE' AND v.user_id = $1
    GROUP BY v.asset
    ORDER BY v.asset"""


async def pending_proceeds(pool: asyncpg.Pool[Any], user_id: str) -> dict[str, int]:
    """What the user's trades that are not settled yet will pay him, after fees: units of 1e-8 by asset."""
    return {row["asset"]: int(row["amount"]) for row in await pool.fetch(_PROCEEDS, user_id)}
