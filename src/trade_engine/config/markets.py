"""Markets out of the configuration."""

from trade_engine.config.errors import ConfigError
from trade_engine.config.schema import Config, MarketSection
from trade_engine.domain.enums import FeeAsset
from trade_engine.domain.market import Market, MarketError, default_markets, namesake
from trade_engine.domain.scale import ScaleError, parse_units


def markets_of(config: Config) -> tuple[Market, ...]:
    """The markets that the configuration lists, or the default ones.

    Raises:
        ConfigError: a market contradicts itself, or is listed twice, or none is listed.
    """
    listed = config.matching.markets
    if listed is None:
        return default_markets()
    if not listed:
        raise ConfigError("matching.markets: []: list a market, or leave the key out for the default ones")
    markets: list[Market] = []
    for number, section in enumerate(listed, 1):
        key = f"matching.markets[{number - 1}]"
        if any(market.symbol == section.symbol for market in markets):
            raise ConfigError(f"{key}.symbol: {section.symbol!r}: is listed twice")
        other = namesake(section.symbol, (market.symbol for market in markets))
        if other is not None:
            raise ConfigError(f"{key}.symbol: {section.symbol!r}: cannot be told from {other} without its slash")
        try:
            markets.append(_market(number, section))
        except (MarketError, ScaleError) as error:
            raise ConfigError(f"{key}: {error}") from error
    return tuple(markets)


def _market(number: int, section: MarketSection) -> Market:
    base, _, quote = section.symbol.partition("/")
    lot = parse_units(section.lot_size)
    return Market(
        market_id=number,
        symbol=section.symbol,
        base=base,
        quote=quote,
        tick_size=parse_units(section.tick_size),
        lot_size=lot,
        min_quantity=lot if section.min_quantity is None else parse_units(section.min_quantity),
        max_quantity=parse_units(section.max_quantity),
        min_notional=parse_units(section.min_notional),
        price_band_ppm=parse_units(section.price_band) // 100,
        max_slippage_ppm=parse_units(section.max_slippage) // 100,
        max_open_orders=section.max_open_orders,
        max_fills=section.max_fills,
        min_display_ppm=parse_units(section.min_display_share) // 100,
        maker_fee=parse_units(section.maker_fee),
        taker_fee=parse_units(section.taker_fee),
        fee_asset=FeeAsset[section.fee_asset],
    )
