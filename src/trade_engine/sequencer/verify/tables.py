"""Tables that follow from the replay or from what it has proved: markets, client order ids, candles."""

from collections.abc import Sequence
from typing import Final

from trade_engine.domain.compared import sql_fields
from trade_engine.domain.enums import MarketState
from trade_engine.marketdata.candles import STORED
from trade_engine.sequencer.verify.replay import Replay
from trade_engine.sequencer.verify.report import Report
from trade_engine.storage.types import AnyConnection, Record

_LIMIT: Final = 100
#: A client order id may be forgotten, and given again, this many days after its order.
CLIENT_ORDER_DAYS: Final = 90
_CLIENT_ORDERS: Final = f"""
    SELECT CASE
        WHEN c.order_id IS NULL THEN 'order ' || o.order_id || ': client_orders has not its client_order_id '
            || o.client_order_id || ' of user ' || o.user_id
        ELSE 'client_orders: ' || c.client_order_id || ' of user ' || c.user_id || ': order_id is ' || c.order_id
            || ', should be ' || coalesce((
                SELECT x.order_id::TEXT FROM orders x
                WHERE x.user_id = c.user_id AND x.client_order_id = c.client_order_id
                ORDER BY x.order_id DESC LIMIT 1), 'none') END
    -- An id may be given again once its order has ended: it leads to the last one that it was given to.
    FROM (SELECT DISTINCT ON (user_id, client_order_id) * FROM orders WHERE client_order_id IS NOT NULL
        ORDER BY user_id, client_order_id, sequence DESC) o
    FULL JOIN client_orders c USING (user_id, client_order_id, order_id)
    WHERE (o.sequence IS NULL)
        OR (c.tableoid IS NULL AND o.created_at > now() - INTERVAL '{CLIENT_ORDER_DAYS} days')
    LIMIT {_LIMIT}"""
_VALUES: Final = ("open", "high", "low", "close", "volume", "quote_volume", "trades", "last_sequence")
_WIDER: Final = " UNION ALL ".join(
    f"""SELECT market_id, '{name}' AS interval, at_us(start_us / {width_us} * {width_us}) AS start_at,
        (array_agg(open ORDER BY start_us))[1] AS open, max(high) AS high, min(low) AS low,
        (array_agg(close ORDER BY start_us DESC))[1] AS close, sum(volume) AS volume,
        sum(quote_volume) AS quote_volume, sum(trades)::BIGINT AS trades, max(last_sequence) AS last_sequence
    FROM minutes GROUP BY market_id, start_us / {width_us}"""
    for name, width_us in STORED.items()
)
#: The candles that the trades up to $1 make, beside the table's.
_CANDLES: Final = f"""
    WITH minutes AS MATERIALIZED (
        SELECT market_id, (extract(epoch FROM executed_at) * 1000000)::BIGINT / 60000000 * 60000000 AS start_us,
            (array_agg(price ORDER BY sequence))[1] AS open, max(price) AS high, min(price) AS low,
            (array_agg(price ORDER BY sequence DESC))[1] AS close, sum(quantity) AS volume,
            sum(notional) AS quote_volume, count(*) AS trades, max(sequence) AS last_sequence
        FROM trades WHERE sequence <= $1 AND executed_at >= to_timestamp(0) + $2 * INTERVAL '1 microsecond'
        GROUP BY 1, 2
    ), expected AS ({_WIDER}), compared AS (
        SELECT market_id, coalesce(c.interval::TEXT, x.interval) AS interval, start_at, c.open IS NULL AS missing,
            x.open IS NULL AS strange, {
    sql_fields(
        {name: (f"trim_scale(c.{name})", f"trim_scale(x.{name})") for name in _VALUES[:6]}
        | {name: (f"c.{name}", f"x.{name}") for name in _VALUES[6:]}
    )
} AS wrong
        FROM (SELECT *, interval::TEXT AS width FROM candles
            WHERE start_at >= to_timestamp(0) + $2 * INTERVAL '1 microsecond') c
        FULL JOIN (SELECT *, interval AS width FROM expected) x USING (market_id, width, start_at)
    )
    SELECT 'market ' || market_id || ' ' || interval || ' at ' || start_at || CASE WHEN missing THEN ' is missing'
        WHEN strange THEN ' is of no trades' ELSE ': ' || wrong END
    FROM compared WHERE missing OR strange OR wrong <> '' ORDER BY market_id, start_at, interval LIMIT {_LIMIT}"""


def check_markets(rows: Sequence[Record], replay: Replay, report: Report) -> None:
    """What each market's book remembers after the replay is in its row."""
    for row in rows:
        market = replay.markets[row["market_id"]]
        memory = replay.books.book(market.market_id).memory()
        expected = {
            "state": MarketState(memory.state).name,
            "last_price": memory.last_price * market.tick_size,
            "event_sequence": replay.bookkeeper.event_sequences.get(market.market_id, 0),
            "priority_sequence": memory.priority,
            "price_band_ppm": memory.price_band_ppm,
            "max_slippage_ppm": memory.max_slippage_ppm,
            "min_notional_ticks": memory.min_notional,
            "max_open_orders": memory.max_open_orders,
            "max_fills": memory.max_fills,
            "rule_flags": memory.rules,
            "reached_high_ticks": memory.reached_high,
            "reached_low_ticks": memory.reached_low,
            "next_high_ticks": memory.next_high,
            "next_low_ticks": memory.next_low,
        }
        found = dict(row) | {"last_price": int(row["last_price"].scaleb(8))}
        for name, value in expected.items():
            if found[name] != value:
                report.differ("markets", f"market {row['symbol']}: {name} is {found[name]}, should be {value}")


async def check_client_orders(connection: AnyConnection, report: Report) -> None:
    """Every client order id of the last 90 days leads to its order, and to nothing else."""
    for row in await connection.fetch(_CLIENT_ORDERS):
        report.differ("orders", row[0])


async def check_candles(connection: AnyConnection, known: int, edge_us: int, report: Report) -> None:
    """The candles are those of the trades up to the last one they hold; ``known``: they held so many once.

    ``edge_us``: a day's begin; those before it were verified before.
    """
    stored = await connection.fetchval("SELECT coalesce(max(last_sequence), 0) FROM candles")
    if stored < known:
        report.differ("candles", f"last_sequence is {stored}, should be at least {known}")
    for row in await connection.fetch(_CANDLES, max(stored, known), edge_us):
        report.differ("candles", row[0])
