"""What a user has: the wallet's word, and what unsettled trades will bring."""

from collections.abc import Awaitable, Callable

from trade_engine.domain.errors import Unavailable
from trade_engine.domain.scale import format_units
from trade_engine.edge.views import BalanceView
from trade_engine.wallet.port import Balance, Wallet, WalletUnavailable

#: What a user's unsettled trades will bring him: units of 1e-8 by asset.
Pending = Callable[[str], Awaitable[dict[str, int]]]


class Balances:
    """Reads balances."""

    def __init__(self, wallet: Wallet, pending: Pending) -> None:
        self._wallet = wallet
        self._pending = pending

    async def of(self, user_id: str) -> list[BalanceView]:
        """A user's balances now.

        Raises:
            Unavailable: WALLET_UNAVAILABLE or DATABASE_UNAVAILABLE.
        """
        try:
            held = {balance.asset: balance for balance in await self._wallet.balances(user_id)}
        except WalletUnavailable as error:
            raise Unavailable("WALLET_UNAVAILABLE", "the wallet does not answer") from error
        pending = await self._pending(user_id)
        rows = []
        for asset in sorted(held.keys() | pending.keys()):
            balance = held.get(asset) or Balance(asset, 0, 0)
            coming = pending.get(asset, 0)
            total = balance.available + balance.reserved + coming
            amounts = map(format_units, (balance.available, balance.reserved, coming, total))
            rows.append(BalanceView(asset, *amounts))
        return rows
