"""Which terms a market takes."""

from decimal import Decimal
from typing import Any

import pytest

from trade_engine.client import AsyncClient, Market
from trade_engine.market_maker.over_client import MakerTerms, MarketMaker, TermsRefused

TERMS = MakerTerms(Decimal("0.002"), Decimal("0.001"), 3, Decimal("0.1"), Decimal("0.4"))
MARKET = Market(
    symbol="BTC/USDT", base="BTC", quote="USDT", state="OPEN", tick_size=Decimal("0.01"), lot_size=Decimal("0.0001"),
    min_quantity=Decimal("0.0001"), max_quantity=Decimal(1000), min_notional=Decimal(10), price_band=Decimal("0.1"),
    max_slippage=Decimal("0.05"), max_open_orders=200, maker_fee=Decimal(0), taker_fee=Decimal(0), fee_asset="QUOTE",
)  # fmt: skip


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("spread", {"spread": Decimal(0)}),
        ("gap", {"gap": Decimal(1)}),
        ("levels", {"levels": 26}),
        ("size", {"size": Decimal("0.00001")}),
        ("size", {"size": Decimal(10_000)}),
        ("inventory_limit", {"inventory_limit": Decimal("0.05")}),
    ],
)
async def test_terms_that_would_never_quote_are_refused(name: str, change: dict[str, Any]) -> None:
    async with AsyncClient() as client:
        with pytest.raises(TermsRefused) as refused:
            MarketMaker(client, MARKET, TERMS._replace(**change), lambda: None, lambda event, **_: None)
    assert refused.value.name == name
