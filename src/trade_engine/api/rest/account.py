"""Routes of the caller's account."""

import msgspec

from trade_engine.api.call import Answer, Call, Services
from trade_engine.api.shapes import Amount, Asset
from trade_engine.domain.errors import Unavailable
from trade_engine.domain.scale import format_units
from trade_engine.wallet.port import Balance, WalletUnavailable


class BalanceView(msgspec.Struct, frozen=True, gc=False):
    """What a user has of one asset."""

    asset: Asset
    available: Amount
    reserved: Amount
    pending: Amount
    total: Amount


async def balances(call: Call) -> Answer:
    """Look up your balances.

    Available, reserved, and what unsettled trades will bring (pending), by asset.
    """
    return Answer(await read_balances(call.services, call.user_id))


async def read_balances(services: Services, user_id: str) -> list[BalanceView]:
    """A user's balances now.

    Raises:
        Unavailable: WALLET_UNAVAILABLE or DATABASE_UNAVAILABLE.
    """
    try:
        held = {balance.asset: balance for balance in await services.wallet.balances(user_id)}
    except WalletUnavailable as error:
        raise Unavailable("WALLET_UNAVAILABLE", "the wallet does not answer") from error
    pending = await services.pending(user_id)
    rows = []
    for asset in sorted(held.keys() | pending.keys()):
        balance = held.get(asset) or Balance(asset, 0, 0)
        coming = pending.get(asset, 0)
        total = balance.available + balance.reserved + coming
        amounts = map(format_units, (balance.available, balance.reserved, coming, total))
        rows.append(BalanceView(asset, *amounts))
    return rows
