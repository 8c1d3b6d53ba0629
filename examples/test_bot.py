"""The bot of bot.py in an exchange of its own: `pytest examples/test_bot.py`, where the engine is installed."""

from datetime import timedelta
from decimal import Decimal

from bot import DipBuyer

from trade_engine.box.exchange import Exchange


def test_it_buys_the_dip_and_sells_the_rise(trade_engine: Exchange) -> None:
    market = trade_engine.market("BTC/USDT")
    market.quote(50_000)
    with trade_engine.alice.client() as client:
        bot = DipBuyer(client, "BTC/USDT", Decimal("0.1"), Decimal("0.02"))
        bot.step()
        assert bot.resting is not None
        assert bot.resting.price == 49_000
        market.quote(48_900)  # the price passes the bot's order, which is filled
        bot.step()
        assert (bot.resting.side, bot.resting.price) == ("SELL", 50_000)
        market.quote(50_100)
        bot.step()
        assert bot.resting is None
        trade_engine.settle()
        earned = next(row.available for row in client.balances() if row.asset == "USDT") - 1_000_000
        assert 0 < earned < 100


def test_it_begins_anew_when_its_order_has_expired(trade_engine: Exchange) -> None:
    market = trade_engine.market("BTC/USDT")
    market.quote(50_000)
    with trade_engine.alice.client() as client:
        bot = DipBuyer(client, "BTC/USDT", Decimal("0.1"), Decimal("0.02"))
        bot.step()
        trade_engine.advance(timedelta(days=181))  # no order lives longer
        bot.step()
        assert bot.resting is None
