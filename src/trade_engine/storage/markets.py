"""Markets as the database has them: listed from the configuration at start, or while the engine runs."""

from collections.abc import Sequence
from typing import Final

import msgspec

from trade_engine.domain.enums import FeeAsset, MarketState
from trade_engine.domain.market import Market
from trade_engine.storage.errors import RecoveryError
from trade_engine.storage.order_rows import units_of
from trade_engine.storage.types import AnyConnection, Connection, Pool, Record

_UNIT: Final = "::BIGINT * 0.00000001"
_TERMS: Final = ("min_quantity", "max_quantity", "min_notional", "maker_fee", "taker_fee")
#: Chains the terms of the row that is written, if they are new.
_NOTED: Final = "SELECT changed.*, note_market(ROW(changed.*)::markets) FROM changed"
_SET: Final = ", ".join(f"{name} = ${n}{_UNIT}" for n, name in enumerate(_TERMS, 2))


async def sync_markets(connection: Connection, configured: Sequence[Market]) -> list[tuple[Market, Record]]:
    """Every market with its row: new ones from the configuration get one, and it has its say on fees and limits.

    A market that was listed or changed while the engine ran (``managed``) is as the database says.

    Raises:
        RecoveryError: the configuration changes a market's tick or lot.
    """
    known = {row["symbol"]: row for row in await connection.fetch("SELECT * FROM markets ORDER BY market_id")}
    synced = []
    for market in configured:
        row = known.pop(market.symbol, None)
        if row is None:
            row = await insert_market(connection, market)
        elif not row["managed"]:
            row = await _update(connection, row["market_id"], market, managed=False)
        scales = (units_of(row["tick_size"]), units_of(row["lot_size"]))
        if scales != (market.tick_size, market.lot_size):
            raise RecoveryError(
                f"matching.markets {market.symbol}: tick_size and lot_size are {row['tick_size']} and"
                f" {row['lot_size']} in the database and cannot be changed"
            )
        named = msgspec.structs.replace(market, market_id=row["market_id"], state=MarketState[row["state"]])
        synced.append((market_from_row(row) if row["managed"] else named, row))
    return synced + [(market_from_row(row), row) for row in known.values()]


async def insert_market(connection: AnyConnection | Pool, market: Market, *, managed: bool = False) -> Record:
    """Write a new market's row, with the next number; its ``market_id`` is not looked at.

    Raises:
        asyncpg.UniqueViolationError: the symbol is listed already.
    """
    row = await connection.fetchrow(
        "WITH changed AS (INSERT INTO markets (market_id, symbol, base, quote, state, fee_asset, managed, tick_size,"
        f" lot_size, min_display_ppm, {', '.join(_TERMS)}) SELECT coalesce(max(market_id), 0) + 1, $1, $2, $3,"
        f" $4::market_state_enum, $5::fee_asset_enum, $6, $7{_UNIT}, $8{_UNIT}, $9,"
        f" {', '.join(f'${n}{_UNIT}' for n in range(10, 10 + len(_TERMS)))} FROM markets RETURNING *) {_NOTED}",
        market.symbol,
        market.base,
        market.quote,
        market.state.name,
        market.fee_asset.name,
        managed,
        market.tick_size,
        market.lot_size,
        market.min_display_ppm,
        *(getattr(market, name) for name in _TERMS),
    )
    return _found(row, market)


async def update_market(pool: AnyConnection | Pool, market: Market, *, managed: bool) -> Record:
    """Write a market's terms as they were changed while the engine runs; ``managed``: the database speaks for it."""
    return await _update(pool, market.market_id, market, managed=managed)


async def _update(connection: AnyConnection | Pool, market_id: int, market: Market, *, managed: bool) -> Record:
    row = await connection.fetchrow(
        f"WITH changed AS (UPDATE markets SET {_SET}, fee_asset = $7, managed = $8, min_display_ppm = $9"
        f" WHERE market_id = $1 RETURNING *) {_NOTED}",
        market_id,
        *(getattr(market, name) for name in _TERMS),
        market.fee_asset.name,
        managed,
        market.min_display_ppm,
    )
    return _found(row, market)


def market_from_row(row: Record) -> Market:
    """The market of a row of ``markets``."""
    terms = {name: units_of(row[name]) for name in ("tick_size", "lot_size", *_TERMS)}
    return Market(
        market_id=row["market_id"],
        symbol=row["symbol"],
        base=row["base"],
        quote=row["quote"],
        price_band_ppm=row["price_band_ppm"],
        max_slippage_ppm=row["max_slippage_ppm"],
        max_open_orders=row["max_open_orders"],
        max_fills=row["max_fills"],
        min_display_ppm=row["min_display_ppm"],
        fee_asset=FeeAsset[row["fee_asset"]],
        state=MarketState[row["state"]],
        **terms,
    )


def _found(row: Record | None, market: Market) -> Record:
    if row is None:
        raise RecoveryError(f"markets: {market.symbol} could not be written")
    return row
