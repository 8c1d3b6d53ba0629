"""Orphaned reservations: funds reserved for orders that never came to be, because the engine died in between."""


from trade_engine.sequencer.bookkeeping import Instruction
from trade_engine.storage.types import Pool
from trade_engine.wallet.port import Wallet


async def orphan_releases(wallet: Wallet, pool: Pool) -> list[Instruction]:
    """Releases for all reservations left by earlier writers that no stored order stands behind.

    Only to be asked by a writer that has taken over: no earlier one can still commit such an order.
    """
    held = await wallet.open_reservations()
    if not held:
        return []
    rows = await pool.fetch(
        "SELECT r.order_id::TEXT FROM unnest($1::UUID[]) AS r (order_id)"
        " WHERE NOT EXISTS (SELECT 1 FROM orders o WHERE o.order_id = r.order_id)",
        [reservation.order_id for reservation in held],
    )
    orphans = {row[0] for row in rows}
    return [
        Instruction("RELEASE", None, r.order_id, r.user_id, r.asset, None, "orphaned")
        for r in held
        if r.order_id in orphans
    ]
