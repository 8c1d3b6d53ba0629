"""The table of candles: written in whole versions, read in ranges, and made anew from the trades.

What it holds is a function of the trades up to one sequence, the highest it names: ``store_candles`` writes all changes
of all markets up to there at once.  An older version never replaces a newer one, so late or repeated writes do no harm.
"""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any, Final

from trade_engine.domain.ids import uuid7_floor
from trade_engine.marketdata.candles import MINUTE_US, Candle
from trade_engine.storage.types import AnyConnection, Pool, Record

#: Market, interval and candle.
Row = tuple[int, str, Candle]

_VALUES: Final = ("open", "high", "low", "close", "volume", "quote_volume")
_COLUMNS: Final = ", ".join(
    (
        "market_id", "interval::TEXT AS interval", "(extract(epoch FROM start_at) * 1000000)::BIGINT AS start_us",
        *(f"({name} * 100000000)::NUMERIC(38) AS {name}" for name in _VALUES), "trades", "last_sequence",
    )
)  # fmt: skip
_CHANGING: Final = (*_VALUES, "trades", "last_sequence")
_STORE: Final = f"""
    INSERT INTO candles (market_id, interval, start_at, {", ".join(_CHANGING)})
    SELECT market_id, interval::candle_interval_enum, at_us(start_us),
        {", ".join(f"{name} * 0.00000001" for name in _VALUES)}, trades, last_sequence
    FROM unnest($1::INTEGER[], $2::TEXT[], $3::BIGINT[], $4::NUMERIC[], $5::NUMERIC[], $6::NUMERIC[], $7::NUMERIC[],
        $8::NUMERIC[], $9::NUMERIC[], $10::BIGINT[], $11::BIGINT[])
        AS c (market_id, interval, start_us, {", ".join(_CHANGING)})
    ON CONFLICT (market_id, interval, start_at) DO UPDATE
    SET {", ".join(f"{name} = EXCLUDED.{name}" for name in _CHANGING)}
    WHERE candles.last_sequence < EXCLUDED.last_sequence
"""
_SINCE: Final = f"""
    SELECT {_COLUMNS} FROM (
        SELECT newest.* FROM markets CROSS JOIN unnest(enum_range(NULL::candle_interval_enum)) AS i (name)
        CROSS JOIN LATERAL (
            SELECT * FROM candles WHERE market_id = markets.market_id AND interval = i.name
            ORDER BY start_at DESC LIMIT 1
        ) AS newest
        UNION
        SELECT recent.* FROM markets CROSS JOIN unnest(enum_range(NULL::candle_interval_enum)) AS i (name)
        CROSS JOIN LATERAL (
            SELECT * FROM candles WHERE market_id = markets.market_id AND interval = i.name AND start_at >= at_us($1)
        ) AS recent
    ) AS held ORDER BY market_id, held.interval, start_at
"""
_MINUTES: Final = f"""
    SELECT market_id, '1m' AS interval,
        (extract(epoch FROM executed_at) * 1000000)::BIGINT / {MINUTE_US} * {MINUTE_US} AS start_us,
        (array_agg(price ORDER BY sequence))[1] * 100000000 AS open, max(price) * 100000000 AS high,
        min(price) * 100000000 AS low, (array_agg(price ORDER BY sequence DESC))[1] * 100000000 AS close,
        sum(quantity) * 100000000 AS volume, sum(notional) * 100000000 AS quote_volume, count(*) AS trades,
        max(sequence) AS last_sequence
    FROM (
        SELECT market_id, executed_at, price, quantity, notional, sequence FROM trades
        WHERE trade_id >= $1 AND sequence > $2 ORDER BY trade_id LIMIT $3
    ) AS chunk GROUP BY market_id, 3 ORDER BY 3, market_id
"""


async def store_candles(connection: AnyConnection | Pool, rows: Iterable[Row]) -> None:
    """Write every candle that changed since the last call, of all markets, in one statement."""
    ordered = sorted(rows, key=lambda row: (row[0], row[1], row[2].start_us))
    candles = [candle for _, _, candle in ordered]
    await connection.execute(
        _STORE,
        [market_id for market_id, _, _ in ordered],
        [interval for _, interval, _ in ordered],
        [candle.start_us for candle in candles],
        *([Decimal(getattr(candle, name)) for candle in candles] for name in _VALUES),
        [candle.trades for candle in candles],
        [candle.last_sequence for candle in candles],
    )


async def candles_since(connection: AnyConnection, start_us: int) -> list[Row]:
    """For each market and interval all candles from ``start_us`` on, and at least the newest; oldest first."""
    return [_row(row) for row in await connection.fetch(_SINCE, start_us)]


async def traded_minutes(connection: AnyConnection, start_us: int, after: int, limit: int) -> list[Row]:
    """What the next ``limit`` trades after sequence ``after`` add to each minute of each market, in order of time.

    ``start_us`` is no later than any of them: it spares looking for them in older partitions.
    """
    return [_row(row) for row in await connection.fetch(_MINUTES, uuid7_floor(start_us), after, limit)]


async def candles_between(
    pool: AnyConnection | Pool, market_id: int, interval: str, start_us: int, end_us: int, limit: int
) -> list[Candle]:
    """The newest ``limit`` stored candles that begin in ``[start_us, end_us)``, oldest first.

    The range is cut at 1970: in SQL, time 0 is no time.
    """
    rows: Sequence[Record] = await pool.fetch(
        f"SELECT {_COLUMNS} FROM candles WHERE market_id = $1 AND interval = $2::TEXT::candle_interval_enum"
        " AND start_at >= at_us($3) AND start_at < at_us($4) ORDER BY start_at DESC LIMIT $5",
        market_id,
        interval,
        max(start_us, 1),
        end_us,
        limit,
    )
    return [_row(row)[2] for row in reversed(rows)]


def _row(row: Record) -> Row:
    values: list[Any] = [int(row[name]) for name in ("start_us", *_CHANGING)]
    return row["market_id"], row["interval"], Candle(*values)
