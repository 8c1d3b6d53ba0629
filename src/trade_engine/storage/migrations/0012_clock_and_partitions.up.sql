-- Partitions as of version 0.2 (they were 0001's): a row that landed in a DEFAULT partition stands in nobody's way, and
-- is moved to the partition of its time.

DROP FUNCTION create_partitions(INTEGER, INTEGER);

-- The time that a UUIDv7 was made at, to the millisecond.
CREATE FUNCTION uuid7_time(id UUID) RETURNS TIMESTAMPTZ
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT to_timestamp(('x0000' || left(replace(id::TEXT, '-', ''), 12))::BIT(64)::BIGINT / 1000.0)
$$;

-- The partition that a time belongs to: its name and bounds, as text.  Orders have one a month, the rest one a day.
CREATE FUNCTION partition_of(parent TEXT, at TIMESTAMPTZ, OUT name TEXT, OUT low TEXT, OUT high TEXT)
LANGUAGE plpgsql STABLE SET timezone = 'UTC' SET datestyle = 'ISO' AS $$
DECLARE
    span TEXT := CASE parent WHEN 'orders' THEN 'month' ELSE 'day' END;
    first TIMESTAMPTZ := date_trunc(span, at);
    later TIMESTAMPTZ := first + ('1 ' || span)::INTERVAL;
BEGIN
    name := parent || to_char(first, CASE span WHEN 'month' THEN '"_y"YYYY"m"MM' ELSE '"_y"YYYY"m"MM"d"DD' END);
    IF parent = 'journal' THEN
        low := first;
        high := later;
    ELSE
        low := uuid7_floor(first);
        high := uuid7_floor(later);
    END IF;
END $$;

-- What a table is partitioned by, and its storage options.
CREATE FUNCTION partition_terms(parent TEXT, OUT key TEXT, OUT options TEXT) LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE parent WHEN 'orders' THEN 'order_id' WHEN 'trades' THEN 'trade_id' ELSE 'stamped_at' END,
           CASE parent WHEN 'orders' THEN 'WITH (fillfactor = 70)' WHEN 'trades' THEN 'WITH (fillfactor = 80)'
                ELSE '' END
$$;

-- How many rows of a span are in the DEFAULT partition; at most "most" are counted.
CREATE FUNCTION default_count(parent TEXT, low TEXT, high TEXT, most BIGINT) RETURNS BIGINT LANGUAGE plpgsql AS $$
DECLARE
    answer BIGINT;
BEGIN
    EXECUTE format('SELECT count(*) FROM (SELECT FROM %I WHERE %2$I >= %3$L AND %2$I < %4$L LIMIT %5$s) AS found',
                   parent || '_default', (partition_terms(parent)).key, low, high, most) INTO answer;
    RETURN answer;
END $$;

-- Makes the partitions of a span ahead, those that do not exist yet; their names.  A span that has rows in the DEFAULT
-- partition is left to move_default_rows.
CREATE FUNCTION create_partitions(months_ahead INTEGER, days_ahead INTEGER, at TIMESTAMPTZ DEFAULT now())
RETURNS SETOF TEXT LANGUAGE plpgsql SET timezone = 'UTC' AS $$
DECLARE
    parent TEXT;
    wanted RECORD;
    is_locked BOOLEAN;
BEGIN
    -- In the writer's order.
    FOREACH parent IN ARRAY ARRAY['journal', 'orders', 'trades'] LOOP
        is_locked := FALSE;
        FOR i IN 0..CASE parent WHEN 'orders' THEN months_ahead ELSE days_ahead END LOOP
            IF parent = 'orders' THEN
                wanted := partition_of(parent, date_trunc('month', at) + make_interval(months => i));
            ELSE
                wanted := partition_of(parent, date_trunc('day', at) + make_interval(days => i));
            END IF;
            CONTINUE WHEN to_regclass(wanted.name) IS NOT NULL;
            IF NOT is_locked THEN
                -- Making a partition takes these in any case; taken first, no row can come between.
                EXECUTE format('LOCK TABLE ONLY %I, %I IN ACCESS EXCLUSIVE MODE', parent, parent || '_default');
                is_locked := TRUE;
            END IF;
            CONTINUE WHEN default_count(parent, wanted.low, wanted.high, 1) > 0;
            EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L) %s',
                           wanted.name, parent, wanted.low, wanted.high, (partition_terms(parent)).options);
            RETURN NEXT wanted.name;
        END LOOP;
    END LOOP;
END $$;

-- Gives the first rows of a DEFAULT partition from "start" (a bound, as text; NULL: from the beginning) a partition of
-- their own, with all rows of its span.
--
-- name: that partition; NULL: there are no such rows.  next: where the span ends.  moved: how many rows; NULL if they
-- stay where they are, and obstacle then says why.
CREATE FUNCTION move_default_rows(
    parent TEXT, start TEXT, rows_max BIGINT, OUT name TEXT, OUT next TEXT, OUT moved BIGINT, OUT obstacle TEXT
) LANGUAGE plpgsql SET timezone = 'UTC' SET datestyle = 'ISO' AS $$
DECLARE
    home TEXT := parent || '_default';
    terms RECORD := partition_terms(parent);
    first TEXT;
    span RECORD;
    found BIGINT;
BEGIN
    EXECUTE format('SELECT %1$I FROM %2$I WHERE %3$L IS NULL OR %1$I >= %3$L ORDER BY %1$I LIMIT 1',
                   terms.key, home, start) INTO first;
    IF first IS NULL THEN
        RETURN;
    END IF;
    span := partition_of(parent, CASE parent WHEN 'journal' THEN first::TIMESTAMPTZ ELSE uuid7_time(first::UUID) END);
    name := span.name;
    next := span.high;
    IF to_regclass(name) IS NOT NULL THEN
        obstacle := format('there is a table %s that is no partition', name);
    ELSIF parent = 'orders' AND NOT has_parameter_privilege('session_replication_role', 'SET') THEN
        obstacle := format('the user %s may not set session_replication_role', current_user);
    END IF;
    IF obstacle IS NOT NULL THEN
        RETURN;
    END IF;
    EXECUTE format('LOCK TABLE ONLY %I, %I IN ACCESS EXCLUSIVE MODE', parent, home);
    found := default_count(parent, span.low, span.high, rows_max + 1);
    IF found > rows_max THEN
        obstacle := format('more than %s rows', rows_max);
        RETURN;
    END IF;
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL) %s', name, parent, terms.options);
    EXECUTE format('INSERT INTO %I SELECT * FROM %I WHERE %3$I >= %4$L AND %3$I < %5$L',
                   name, home, terms.key, span.low, span.high);
    -- Trades may refer to these orders, and go on to: they leave the table by one door and come in by the other.  The
    -- check that a deleted order is not referred to would look at the first door only.
    IF parent = 'orders' THEN
        PERFORM set_config('session_replication_role', 'replica', TRUE);
    END IF;
    EXECUTE format('DELETE FROM %I WHERE %2$I >= %3$L AND %2$I < %4$L', home, terms.key, span.low, span.high);
    GET DIAGNOSTICS moved = ROW_COUNT;
    IF parent = 'orders' THEN
        PERFORM set_config('session_replication_role', 'origin', TRUE);
    END IF;
    -- This checks every row's bounds, and that the orders of moved trades exist.
    EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
                   parent, name, span.low, span.high);
END $$;

-- What operators said of the machine's clock: that it is right, although it jumped.
CREATE TABLE clock_acceptances (
    acceptance_id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    stamped_us BIGINT NOT NULL,
    actor TEXT NOT NULL,
    reason TEXT NOT NULL CHECK (length(reason) BETWEEN 1 AND 500),
    accepted_at TIMESTAMPTZ NOT NULL DEFAULT now()
);
COMMENT ON COLUMN clock_acceptances.stamped_us IS 'the last stamp then: a clock that is behind it is accepted';
