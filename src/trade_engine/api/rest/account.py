"""Routes of the caller's account."""

from trade_engine.api.call import Answer, Call
from trade_engine.domain.errors import Unavailable
from trade_engine.domain.scale import format_units
from trade_engine.wallet.port import Balance, WalletUnavailable


async def balances(call: Call) -> Answer:
    """GET /balances: available, reserved, and what unsettled trades will bring (pending), by asset."""
    call.parameters()
    user_id = call.user_id
    try:
        held = {balance.asset: balance for balance in await call.services.wallet.balances(user_id)}
    except WalletUnavailable as error:
        raise Unavailable("WALLET_UNAVAILABLE", "the wallet does not answer") from error
    pending = await call.services.pending(user_id)
    rows = []
    for asset in sorted(held.keys() | pending.keys()):
        balance = held.get(asset) or Balance(asset, 0, 0)
        coming = pending.get(asset, 0)
        rows.append(
            {
                "asset": asset,
                "available": format_units(balance.available),
                "reserved": format_units(balance.reserved),
                "pending": format_units(coming),
                "total": format_units(balance.available + balance.reserved + coming),
            }
        )
    return Answer(rows)
