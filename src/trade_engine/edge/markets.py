"""Markets as callers name them."""

from trade_engine.domain.errors import InvalidRequest
from trade_engine.domain.market import Market, symbol_keys
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
            raise InvalidRequest("INVALID_SYMBOL", "there is no such market", field="symbol", provided=symbol[:100])
        return market

    def numbered(self, market_id: int) -> Market:
        """The market of a number, as the database has it."""
        return self._reader.market(market_id)

    def _canonical(self, symbol: str) -> str:
        """``BTC/USDT`` for any way of spelling it; the same text if there is no such market."""
        markets = self._reader.markets
        if len(self._spellings) != 4 * len(markets):
            self._spellings = {key: known for known in markets for key in symbol_keys(known)}
        return self._spellings.get(symbol) or self._spellings.get(symbol.upper(), symbol)
