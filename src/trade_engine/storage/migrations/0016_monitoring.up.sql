-- Schema monitoring: what an operator wants to know of the database, and the functions that keep it in shape (SPEC 9.3).
-- The engine runs them on schedule (storage/maintenance.py); whoever prefers pg_cron may, too.

CREATE SCHEMA monitoring;
-- Where partitions are between their table and their file.
CREATE SCHEMA archive;

-- Statements whose calls take more than 100 ms in the mean; none where pg_stat_statements is not there or not loaded.
CREATE FUNCTION monitoring.statement_statistics() RETURNS TABLE (
    query_id BIGINT, query TEXT, calls BIGINT, mean_ms NUMERIC, max_ms NUMERIC, total_ms NUMERIC, row_count BIGINT,
    cache_hit_pct NUMERIC
) LANGUAGE plpgsql STABLE AS $$
DECLARE
    place TEXT := (SELECT quote_ident(n.nspname) FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
                   WHERE e.extname = 'pg_stat_statements');
BEGIN
    IF place IS NULL THEN
        RETURN;
    END IF;
    RETURN QUERY EXECUTE format($query$
        SELECT s.queryid, s.query, s.calls, round(s.mean_exec_time::NUMERIC, 3), round(s.max_exec_time::NUMERIC, 3),
            round(s.total_exec_time::NUMERIC, 3), s.rows,
            round(100.0 * s.shared_blks_hit / nullif(s.shared_blks_hit + s.shared_blks_read, 0), 2)
        FROM %s.pg_stat_statements s
        WHERE s.dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
    $query$, place);
EXCEPTION
    WHEN object_not_in_prerequisite_state THEN
        RETURN;
END $$;
CREATE VIEW monitoring.slow_queries AS
SELECT * FROM monitoring.statement_statistics() s WHERE s.mean_ms > 100 ORDER BY s.total_ms DESC;

-- Each index, those of all partitions of a table together.
CREATE VIEW monitoring.index_usage AS
SELECT root.nspname AS schema_name, root.table_name, root.index_name, root.is_unique,
    count(*) AS parts, sum(s.idx_scan)::BIGINT AS scans, sum(s.idx_tup_read)::BIGINT AS rows_read,
    sum(pg_relation_size(s.indexrelid))::BIGINT AS index_bytes, sum(t.n_live_tup)::BIGINT AS table_rows
FROM pg_stat_user_indexes s
JOIN pg_stat_user_tables t ON t.relid = s.relid
JOIN LATERAL (
    SELECT n.nspname, r.relname AS table_name, i.relname AS index_name, x.indisunique AS is_unique
    FROM pg_class i
    JOIN pg_index x ON x.indexrelid = i.oid
    JOIN pg_class r ON r.oid = x.indrelid
    JOIN pg_namespace n ON n.oid = r.relnamespace
    WHERE i.oid = coalesce(pg_partition_root(s.indexrelid), s.indexrelid)
) root ON TRUE
GROUP BY root.nspname, root.table_name, root.index_name, root.is_unique;

-- Indexes that nothing reads although their table has rows; those that keep rows unique have another purpose.
CREATE VIEW monitoring.unused_indexes AS
SELECT schema_name, table_name, index_name, index_bytes, table_rows
FROM monitoring.index_usage WHERE scans = 0 AND NOT is_unique AND table_rows >= 1000;

CREATE VIEW monitoring.table_bloat AS
SELECT t.schemaname AS schema_name, t.relname AS table_name, t.n_live_tup AS live_rows, t.n_dead_tup AS dead_rows,
    round(100.0 * t.n_dead_tup / nullif(t.n_live_tup + t.n_dead_tup, 0), 2) AS dead_pct,
    pg_total_relation_size(t.relid) AS total_bytes, greatest(t.last_vacuum, t.last_autovacuum) AS vacuumed_at
FROM pg_stat_user_tables t;
COMMENT ON COLUMN monitoring.table_bloat.dead_pct IS 'share of dead rows, as the statistics estimate it';

-- Every partition; those in schema archive are detached and wait for their file.
CREATE VIEW monitoring.partition_sizes AS
SELECT p.relname AS table_name, c.relname AS partition_name, pg_get_expr(c.relpartbound, c.oid) AS bounds,
    c.reltuples::BIGINT AS estimated_rows, pg_table_size(c.oid) AS table_bytes, pg_indexes_size(c.oid) AS index_bytes,
    pg_total_relation_size(c.oid) AS total_bytes, FALSE AS is_detached
FROM pg_inherits i
JOIN pg_class p ON p.oid = i.inhparent AND p.relkind = 'p'
JOIN pg_class c ON c.oid = i.inhrelid
UNION ALL
SELECT split_part(c.relname, '_y', 1), c.relname, NULL, c.reltuples::BIGINT, pg_table_size(c.oid),
    pg_indexes_size(c.oid), pg_total_relation_size(c.oid), TRUE
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = 'archive' AND c.relkind = 'r';

-- What rests in each book: hidden parts of icebergs included, stops that wait not.
CREATE VIEW monitoring.orderbook_depth_summary AS
SELECT m.symbol, o.side, count(*) AS orders, count(DISTINCT o.price) AS price_levels,
    sum(o.quantity - o.filled_quantity - o.cancelled_quantity) AS quantity,
    sum((o.quantity - o.filled_quantity - o.cancelled_quantity) * o.price) AS volume,
    CASE o.side WHEN 'BUY' THEN max(o.price) ELSE min(o.price) END AS best_price
FROM public.orders o JOIN public.markets m USING (market_id)
WHERE o.is_open AND o.status <> 'PENDING' AND o.price IS NOT NULL
GROUP BY m.symbol, o.side;

CREATE VIEW monitoring.active_orders_summary AS
SELECT m.symbol, o.side, o.type, o.status, count(*) AS orders, count(DISTINCT o.user_id) AS users,
    sum(o.quantity - o.filled_quantity - o.cancelled_quantity) AS quantity,
    min(o.created_at) AS oldest_at, max(o.created_at) AS newest_at
FROM public.orders o JOIN public.markets m USING (market_id)
WHERE o.is_open
GROUP BY m.symbol, o.side, o.type, o.status;

-- Every day in UTC; of candles, so that archived trades count.
CREATE VIEW monitoring.daily_trade_volume AS
SELECT (c.start_at AT TIME ZONE 'UTC')::DATE AS day, m.symbol, c.trades, c.volume AS quantity,
    c.quote_volume AS volume, c.low, c.high, c.open, c.close
FROM public.candles c JOIN public.markets m USING (market_id)
WHERE c.interval = '1d';

CREATE MATERIALIZED VIEW monitoring.trading_stats_24h AS
SELECT m.symbol, count(*) AS trades, sum(t.quantity) AS quantity, sum(t.notional) AS volume, min(t.price) AS low,
    max(t.price) AS high, round(sum(t.notional) / sum(t.quantity), 8) AS average,
    (array_agg(t.price ORDER BY t.sequence))[1] AS open, (array_agg(t.price ORDER BY t.sequence DESC))[1] AS close,
    now() AS refreshed_at
FROM public.trades t JOIN public.markets m USING (market_id)
WHERE t.trade_id >= public.uuid7_floor(now() - INTERVAL '24 hours') AND t.executed_at >= now() - INTERVAL '24 hours'
GROUP BY m.symbol;
CREATE UNIQUE INDEX trading_stats_24h_by_symbol ON monitoring.trading_stats_24h (symbol);

-- Of the orders that are not archived.
CREATE MATERIALIZED VIEW monitoring.user_order_stats AS
SELECT o.user_id, count(*) AS orders, count(*) FILTER (WHERE o.is_open) AS open,
    count(*) FILTER (WHERE o.status = 'FILLED') AS filled, count(*) FILTER (WHERE o.status = 'CANCELLED') AS cancelled,
    count(*) FILTER (WHERE o.status = 'REJECTED') AS rejected, count(*) FILTER (WHERE o.status = 'EXPIRED') AS expired,
    sum(o.filled_notional) AS filled_volume, min(o.created_at) AS first_at, max(o.created_at) AS last_at,
    now() AS refreshed_at
FROM public.orders o
GROUP BY o.user_id;
CREATE UNIQUE INDEX user_order_stats_by_user ON monitoring.user_order_stats (user_id);

-- Makes both materialized views anew; who reads them meanwhile sees the old ones.
CREATE FUNCTION monitoring.refresh_trading_stats() RETURNS VOID
LANGUAGE plpgsql SET max_parallel_workers_per_gather = 0 AS $$
BEGIN
    REFRESH MATERIALIZED VIEW CONCURRENTLY monitoring.trading_stats_24h;
    REFRESH MATERIALIZED VIEW CONCURRENTLY monitoring.user_order_stats;
END $$;

-- The partitions that it made.
CREATE FUNCTION monitoring.create_future_order_partitions(months_ahead INTEGER DEFAULT 3) RETURNS SETOF TEXT
LANGUAGE sql SET search_path = public AS $$ SELECT create_partitions(months_ahead, -1) $$;
-- Of the journal, too.
CREATE FUNCTION monitoring.create_future_trade_partitions(days_ahead INTEGER DEFAULT 30) RETURNS SETOF TEXT
LANGUAGE sql SET search_path = public AS $$ SELECT create_partitions(-1, days_ahead) $$;

-- How the database does: WARNING is what somebody should look at.
CREATE FUNCTION monitoring.generate_daily_performance_report()
RETURNS TABLE (metric TEXT, value TEXT, status TEXT) LANGUAGE sql STABLE AS $$
    WITH report (n, metric, value, is_warning) AS (
        SELECT 1, 'slow_queries', count(*)::NUMERIC, count(*) > 10 FROM monitoring.slow_queries
        UNION ALL
        SELECT 2, 'unused_indexes', count(*), count(*) > 5 FROM monitoring.unused_indexes
        UNION ALL
        SELECT 3, 'worst_bloat_pct', coalesce(max(dead_pct), 0), coalesce(max(dead_pct), 0) > 20
        FROM monitoring.table_bloat WHERE live_rows + dead_rows >= 1000
        UNION ALL
        SELECT 4, 'default_partitions_with_rows', count(*), count(*) > 0
        FROM (
            (SELECT FROM public.orders_default LIMIT 1) UNION ALL (SELECT FROM public.trades_default LIMIT 1)
            UNION ALL (SELECT FROM public.journal_default LIMIT 1)
        ) filled
        UNION ALL
        SELECT 5, 'days_of_partitions_ahead', count(*), count(*) < 7
        FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'public.trades'::REGCLASS
            AND c.relname > to_char(now() AT TIME ZONE 'UTC', '"trades_y"YYYY"m"MM"d"DD') AND c.relname ~ '_y'
        UNION ALL
        SELECT 6, 'cache_hit_pct', round(100.0 * blks_hit / nullif(blks_hit + blks_read, 0), 2), FALSE
        FROM pg_stat_database WHERE datname = current_database()
        UNION ALL
        SELECT 7, 'connections', count(*), count(*) > 0.9 * current_setting('max_connections')::INTEGER
        FROM pg_stat_activity WHERE backend_type = 'client backend'
        UNION ALL
        SELECT 8, 'longest_transaction_s', round(coalesce(max(extract(epoch FROM now() - xact_start)), 0)),
            coalesce(max(extract(epoch FROM now() - xact_start)), 0) > 600
        FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
        UNION ALL
        SELECT 9, 'database_bytes', pg_database_size(current_database()), FALSE
        UNION ALL
        SELECT 10, 'open_orders', count(*), FALSE FROM public.orders WHERE is_open
        UNION ALL
        SELECT 11, 'trades_24h', count(*), FALSE FROM public.trades
        WHERE trade_id >= public.uuid7_floor(now() - INTERVAL '24 hours')
        UNION ALL
        SELECT 12, 'dead_letters', count(*), count(*) > 0
        FROM public.settlement_instructions WHERE settlement_instructions.status = 'FAILED'
    )
    SELECT r.metric, coalesce(r.value, 0)::TEXT, CASE WHEN r.is_warning THEN 'WARNING' ELSE 'OK' END
    FROM report r ORDER BY r.n
$$;

-- Ids that may be given again: their orders ended 90 days ago.  Found by the order, oldest first.
CREATE INDEX client_orders_by_order ON client_orders (order_id);
CREATE FUNCTION monitoring.purge_client_orders(most INTEGER DEFAULT 10000, ended_days INTEGER DEFAULT 90)
RETURNS BIGINT LANGUAGE plpgsql SET search_path = public AS $$
DECLARE
    purged BIGINT;
BEGIN
    DELETE FROM client_orders c USING (
        SELECT x.order_id, x.user_id, x.client_order_id
        FROM (
            SELECT k.* FROM client_orders k
            WHERE k.order_id < uuid7_floor(now() - make_interval(days => ended_days))
            ORDER BY k.order_id
        ) x
        LEFT JOIN LATERAL (
            SELECT o.is_open, o.updated_at FROM orders o WHERE o.order_id = x.order_id OFFSET 0
        ) o ON TRUE
        -- An order that is archived has ended long ago.
        WHERE o.is_open IS NULL OR (NOT o.is_open AND o.updated_at < now() - make_interval(days => ended_days))
        LIMIT most
    ) old
    WHERE c.user_id = old.user_id AND c.client_order_id = old.client_order_id;
    GET DIAGNOSTICS purged = ROW_COUNT;
    RETURN purged;
END $$;
