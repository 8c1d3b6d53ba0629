"""What the fuzzer finds: open orders, trades and dead letters, and a trader and an operator with funds."""

import httpx

from tests.e2e.venue import Venue
from trade_engine.roles.all import TradeEngine

#: The market of the examples in the API's description.
SYMBOL = "BTC/USDT"
#: The market that operators change, halt and close.
OPERATED = "ETH/USDT"


async def furnished(engine: TradeEngine, http: httpx.AsyncClient) -> tuple[str, str]:
    """Trade a little, break a settlement; the tokens of a trader and of an operator who may trade as well."""
    venue = Venue(http, engine)
    trader, maker = await venue.trader(BTC="1000", USDT="100000000"), await venue.trader(BTC="1000", USDT="100000000")
    for price in ("50100.00", "50200.00", "50300.00"):
        await maker.order(SYMBOL, "SELL", "5", price)
    for price in ("49900.00", "49800.00"):
        await maker.order(SYMBOL, "BUY", "5", price)
    await trader.order(SYMBOL, "BUY", "0.5", "50100.00")
    await venue.settled()
    await engine.settlement.pause()
    for _ in range(20):
        await trader.order(SYMBOL, "BUY", "0.01", "50100.00")
    await engine.pool.execute("UPDATE settlement_instructions SET status = 'FAILED', last_reason = 'planted'")
    await engine.settlement.resume()
    await trader.order(SYMBOL, "BUY", "0.1", "49000.00")
    await venue.settled()
    operator = await venue.trader(BTC="1000", USDT="100000000")
    return venue.token(trader.user_id), venue.token(operator.user_id, ("trader", "admin"))
