"""What trading costs, as this face says it: one rate for makers and one for takers, whichever side they are on."""

from typing import Any

from trade_engine.domain.market import Market
from trade_engine.edge.binance.given import joined
from trade_engine.edge.binance.numbers import fixed


def show_commissions(market: Market, suffix: str) -> dict[str, Any]:
    """A market's rates, under names that end so: ``ForOrder``, or empty and then for buyers and sellers as well."""
    rates, none = {"maker": market.maker_fee, "taker": market.taker_fee}, {"maker": 0, "taker": 0}
    if not suffix:
        rates, none = rates | {"buyer": 0, "seller": 0}, none | {"buyer": 0, "seller": 0}

    def shown(units: dict[str, int]) -> dict[str, str]:
        return {name: fixed(rate) for name, rate in units.items()}

    discount = {
        "enabledForAccount": False,
        "enabledForSymbol": False,
        "discountAsset": market.quote,
        "discount": fixed(0),
    }
    return {
        f"standardCommission{suffix}": shown(rates),
        f"specialCommission{suffix}": shown(none),
        f"taxCommission{suffix}": shown(none),
        "discount": discount,
    }


def show_account_commissions(market: Market) -> dict[str, Any]:
    """What trading in a market costs an account."""
    return {"symbol": joined(market)} | show_commissions(market, "")
