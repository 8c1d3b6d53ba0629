"""Markets and their rules: scales, ticks and lots, limits and fees (SPEC 2)."""

from collections.abc import Iterable
from typing import Final

import msgspec

from trade_engine.domain.enums import FeeAsset, MarketState
from trade_engine.domain.scale import MAX_UNITS, UNIT, ceil_div, decimals_of, parse_units

_PPM: Final = 1_000_000


class MarketError(ValueError):
    """A market's definition contradicts itself; the message names the key."""


class Market(msgspec.Struct, frozen=True, kw_only=True):
    """One market.  Sizes, prices and notionals in units of 1e-8; rates in units of 1e-8 (0.1 % is 100,000)."""

    market_id: int
    symbol: str
    base: str
    quote: str
    tick_size: int
    lot_size: int
    min_quantity: int
    max_quantity: int = MAX_UNITS
    min_notional: int = 0
    #: Widest distance of a price from the last trade, in parts per million; 0 is off.
    price_band_ppm: int = 0
    #: How far a market order may walk from the best price it meets, ppm; 0 is off.
    max_slippage_ppm: int = 0
    max_open_orders: int = 0
    #: Fills of one command, with those of the stops that it sets off; 0 is off.
    max_fills: int = 0
    #: Least share of its quantity that an iceberg shows, parts per million; 0 is off.
    min_display_ppm: int = 0
    maker_fee: int = 50_000
    taker_fee: int = 100_000
    fee_asset: FeeAsset = FeeAsset.QUOTE
    state: MarketState = MarketState.OPEN

    def __post_init__(self) -> None:
        """Refuse a definition that could not keep notionals exact.

        Raises:
            MarketError: with the key, its value and what it must be.
        """
        for key in ("tick_size", "lot_size", "min_quantity", "max_quantity"):
            value: int = getattr(self, key)
            if not 0 < value <= MAX_UNITS:
                raise MarketError(f"{self.symbol}: {key} must be above 0 and at most {MAX_UNITS} units of 1e-8")
        if self.symbol != f"{self.base}/{self.quote}" or self.base == self.quote:
            raise MarketError(f"{self.symbol}: symbol must be BASE/QUOTE of two different assets")
        if self.tick_size * self.lot_size % UNIT:
            raise MarketError(f"{self.symbol}: tick_size x lot_size must be a whole number of 1e-8 of {self.quote}")
        if self.min_quantity % self.lot_size or self.min_quantity > self.max_quantity:
            raise MarketError(f"{self.symbol}: min_quantity must be whole lots and at most max_quantity")
        for key in ("maker_fee", "taker_fee"):
            if not 0 <= getattr(self, key) < UNIT:
                raise MarketError(f"{self.symbol}: {key} must be at least 0 and below 1")
        for key in ("min_notional", "price_band_ppm", "max_slippage_ppm", "max_open_orders", "max_fills"):
            if not 0 <= getattr(self, key) <= MAX_UNITS:
                raise MarketError(f"{self.symbol}: {key} must be at least 0")
        if not 0 <= self.min_display_ppm <= _PPM:
            raise MarketError(f"{self.symbol}: min_display_share must be from 0 to 1")

    @property
    def notional_unit(self) -> int:
        """What one tick x one lot is worth, in units of 1e-8 of quote; always whole."""
        return self.tick_size * self.lot_size // UNIT

    @property
    def price_decimals(self) -> int:
        """How many decimals a price is shown with."""
        return decimals_of(self.tick_size)

    @property
    def min_notional_ticks(self) -> int:
        """The minimum notional in ticks x lots, rounded up."""
        return ceil_div(self.min_notional, self.notional_unit)

    @property
    def highest_rate(self) -> int:
        """The higher of maker and taker fee rate, in units of 1e-8."""
        return max(self.maker_fee, self.taker_fee)

    @property
    def rate_paid_apart(self) -> int:
        """The rate that a BUY pays in quote, on top of what it buys; 0 where it pays in what it receives."""
        return self.highest_rate if self.fee_asset is FeeAsset.QUOTE else 0

    @property
    def least_quote_amount(self) -> int:
        """The smallest amount that pays for one tick x one lot and its fee, in units of 1e-8."""
        return ceil_div(self.notional_unit * (UNIT + self.rate_paid_apart), UNIT)

    def price_range(self, last_price: int) -> tuple[int, int]:
        """The lowest and the highest price that the band allows around the last trade's, whole ticks, units of 1e-8."""
        widest = last_price * self.price_band_ppm
        lowest = ceil_div(max(0, last_price * _PPM - widest), _PPM * self.tick_size)
        highest = (last_price * _PPM + widest) // (_PPM * self.tick_size)
        return max(1, lowest) * self.tick_size, highest * self.tick_size

    def least_display(self, quantity: int) -> int:
        """The least that an iceberg of ``quantity`` may show, in whole lots."""
        lots = ceil_div(quantity // self.lot_size * self.min_display_ppm, _PPM)
        return max(1, lots) * self.lot_size


def symbol_keys(symbol: str) -> tuple[str, ...]:
    """Every way a path may spell a symbol: ``BTC/USDT``, ``BTC%2FUSDT``, ``BTC-USDT``, ``BTCUSDT``."""
    base, _, quote = symbol.partition("/")
    return symbol, f"{base}%2F{quote}", f"{base}-{quote}", f"{base}{quote}"


def namesake(symbol: str, others: Iterable[str]) -> str | None:
    """Which of these markets reads as ``symbol`` does where the slash is left out; None if none does."""
    joined = symbol.replace("/", "")
    return next((other for other in others if other.replace("/", "") == joined), None)


def _default(number: int, base: str, tick: str, lot: str, minimum: str, notional: str) -> Market:
    return Market(
        market_id=number,
        symbol=f"{base}/USDT",
        base=base,
        quote="USDT",
        tick_size=parse_units(tick),
        lot_size=parse_units(lot),
        min_quantity=parse_units(minimum),
        min_notional=parse_units(notional),
        price_band_ppm=500_000,
        max_slippage_ppm=50_000,
        max_open_orders=1_000,
        max_fills=1_000,
        min_display_ppm=50_000,
    )


def default_markets() -> tuple[Market, ...]:
    """The ten markets that an engine lists when its configuration names none (SPEC 2)."""
    return (
        _default(1, "BTC", "0.01", "0.000001", "0.0001", "1"),
        _default(2, "ETH", "0.01", "0.000001", "0.001", "1"),
        _default(3, "BNB", "0.01", "0.0001", "0.001", "1"),
        _default(4, "XRP", "0.0001", "0.1", "10", "1"),
        _default(5, "SOL", "0.01", "0.0001", "0.01", "1"),
        _default(6, "ADA", "0.0001", "0.1", "1", "1"),
        _default(7, "DOGE", "0.00001", "1", "10", "1"),
        _default(8, "TRX", "0.00001", "1", "10", "1"),
        _default(9, "LTC", "0.01", "0.001", "0.01", "1"),
        _default(10, "AVAX", "0.01", "0.001", "0.1", "1"),
    )
