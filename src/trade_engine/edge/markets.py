"""Markets as callers name them."""

from difflib import get_close_matches

from trade_engine.domain.errors import InvalidRequest, Refused, Unavailable
from trade_engine.domain.market import Market, symbol_keys
from trade_engine.domain.orders import PlaceOrder
from trade_engine.domain.scale import format_price
from trade_engine.sequencer.ports import MarketReader


class Markets:
    """Finds a market by any spelling of its symbol, or by its number."""

    def __init__(self, reader: MarketReader) -> None:
        self._reader = reader
        self._spellings: dict[str, str] = {}

    def named(self, symbol: str) -> Market:
        """The market of a symbol in any of its spellings.

        Raises:
            InvalidRequest: INVALID_SYMBOL.
        """
        markets = self._reader.markets
        market = markets.get(symbol) or markets.get(self._canonical(symbol))
        if market is None:
            raise self._unknown(symbol[:100])
        return market

    def _unknown(self, symbol: str) -> InvalidRequest:
        """There is no such market; what is nearest to what was asked for, and how symbols are written."""
        near = get_close_matches(symbol.upper(), self._spellings, n=1)
        suggestion = {"nearest": self._spellings[near[0]]} if near else {}
        message = "there is no such market; symbols are written BTC/USDT, BTC-USDT or BTCUSDT"
        return InvalidRequest("INVALID_SYMBOL", message, field="symbol", provided=symbol, **suggestion)

    def explain(self, error: Refused, request: PlaceOrder) -> Refused:
        """A market's refusal, with the prices that it takes where it is about the price."""
        if error.code == "PRICE_BAND":
            market = self._reader.markets[request.symbol]
            try:
                last = self._reader.ticker(market.symbol).last_price
            except Unavailable:
                return error
            lowest, highest = market.price_range(last)
            shown = {"last_price": last, "lowest": lowest, "highest": highest, "provided": request.price}
            error.details["field"] = "price"
            error.details |= {name: format_price(price, market.price_decimals) for name, price in shown.items()}
        return error

    def numbered(self, market_id: int) -> Market:
        """The market of a number, as the database has it."""
        return self._reader.market(market_id)

    def _canonical(self, symbol: str) -> str:
        """``BTC/USDT`` for any way of spelling it; the same text if there is no such market."""
        markets = self._reader.markets
        if len(self._spellings) != 4 * len(markets):
            self._spellings = {key: known for known in markets for key in symbol_keys(known)}
        return self._spellings.get(symbol) or self._spellings.get(symbol.upper(), symbol)
