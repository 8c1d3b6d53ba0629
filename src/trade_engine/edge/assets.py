"""Which assets may be deposited: those that a market has, unless an option lets any in.

A deposit of an asset that nothing trades is nearly always a slip of the keyboard, and money that nobody can use.
"""

from collections.abc import Iterable
from difflib import get_close_matches

from trade_engine.domain.errors import InvalidRequest
from trade_engine.domain.market import Market


def require_listed(asset: str, markets: Iterable[Market]) -> None:
    """Make sure that a market has an asset.

    Raises:
        InvalidRequest: UNKNOWN_ASSET; what is nearest to it is named.
    """
    listed = sorted({name for market in markets for name in (market.base, market.quote)})
    if asset in listed:
        return
    near = get_close_matches(asset, listed, n=1)
    message = "no market has this asset (option wallet.any_asset takes it all the same)"
    raise InvalidRequest(
        "UNKNOWN_ASSET", message, field="asset", provided=asset[:100], **({"nearest": near[0]} if near else {})
    )
