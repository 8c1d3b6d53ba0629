DROP TABLE clock_acceptances;
DROP FUNCTION move_default_rows;
DROP FUNCTION create_partitions(INTEGER, INTEGER, TIMESTAMPTZ);
DROP FUNCTION default_count;
DROP FUNCTION partition_terms;
DROP FUNCTION partition_of;
DROP FUNCTION uuid7_time;
-- Makes the partitions of a span ahead, those that do not exist yet; their names.
CREATE FUNCTION create_partitions(months_ahead INTEGER, days_ahead INTEGER) RETURNS SETOF TEXT
LANGUAGE plpgsql SET timezone = 'UTC' AS $$
DECLARE
    first TIMESTAMPTZ;
    name TEXT;
BEGIN
    FOR i IN 0..months_ahead LOOP
        first := date_trunc('month', now()) + make_interval(months => i);
        name := to_char(first, '"orders_y"YYYY"m"MM');
        IF to_regclass(name) IS NULL THEN
            EXECUTE format(
                'CREATE TABLE %I PARTITION OF orders FOR VALUES FROM (%L) TO (%L) WITH (fillfactor = 70)',
                name, uuid7_floor(first), uuid7_floor(first + INTERVAL '1 month'));
            RETURN NEXT name;
        END IF;
    END LOOP;
    FOR i IN 0..days_ahead LOOP
        first := date_trunc('day', now()) + make_interval(days => i);
        name := to_char(first, '"trades_y"YYYY"m"MM"d"DD');
        IF to_regclass(name) IS NULL THEN
            EXECUTE format(
                'CREATE TABLE %I PARTITION OF trades FOR VALUES FROM (%L) TO (%L) WITH (fillfactor = 80)',
                name, uuid7_floor(first), uuid7_floor(first + INTERVAL '1 day'));
            RETURN NEXT name;
        END IF;
        name := to_char(first, '"journal_y"YYYY"m"MM"d"DD');
        IF to_regclass(name) IS NULL THEN
            EXECUTE format(
                'CREATE TABLE %I PARTITION OF journal FOR VALUES FROM (%L) TO (%L)',
                name, first, first + INTERVAL '1 day');
            RETURN NEXT name;
        END IF;
    END LOOP;
END $$;
