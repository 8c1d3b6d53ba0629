-- What is archived: anchors, which verification starts from, and partitions that became files (docs/adr/0017).

INSERT INTO chain_heads (chain) VALUES ('archive') ON CONFLICT DO NOTHING;

-- The state of everything at a place in the journal, proved by a whole verification; chained as a fact.
CREATE TABLE anchors (
    sequence BIGINT PRIMARY KEY,
    edge_at TIMESTAMPTZ NOT NULL UNIQUE,
    journal_hash BYTEA NOT NULL,
    snapshot BYTEA NOT NULL,
    made_at TIMESTAMPTZ NOT NULL DEFAULT now()
);
ALTER TABLE anchors ALTER COLUMN snapshot SET STORAGE EXTERNAL;
COMMENT ON COLUMN anchors.edge_at IS 'batches stamped, and trades executed, before this come before the anchor';

CREATE TABLE archived_partitions (
    partition_name TEXT PRIMARY KEY,
    table_name TEXT NOT NULL CHECK (table_name IN ('journal', 'orders', 'trades')),
    low_at TIMESTAMPTZ NOT NULL,
    high_at TIMESTAMPTZ NOT NULL CHECK (high_at > low_at),
    row_count BIGINT NOT NULL,
    file_name TEXT NOT NULL,
    file_bytes BIGINT NOT NULL,
    file_sha256 BYTEA NOT NULL,
    content_sha256 BYTEA NOT NULL,
    columns TEXT[] NOT NULL,
    archived_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    restored_at TIMESTAMPTZ
);
COMMENT ON COLUMN archived_partitions.columns IS 'of the file, in its order';
COMMENT ON COLUMN archived_partitions.restored_at IS 'its rows are in the table again since then';

-- When a partition begins and ends, by its name; NULL: it is none of ours.
CREATE FUNCTION partition_span(name TEXT, OUT parent TEXT, OUT low_at TIMESTAMPTZ, OUT high_at TIMESTAMPTZ)
LANGUAGE plpgsql STABLE SET timezone = 'UTC' AS $$
BEGIN
    IF name ~ '^(journal|orders|trades)_y\d{4}m\d{2}(d\d{2})?$' THEN
        parent := split_part(name, '_y', 1);
        low_at := to_timestamp(split_part(name, '_y', 2), CASE WHEN name ~ 'd\d{2}$' THEN 'YYYY"m"MM"d"DD'
                                                               ELSE 'YYYY"m"MM' END);
        high_at := low_at + CASE parent WHEN 'orders' THEN INTERVAL '1 month' ELSE INTERVAL '1 day' END;
    END IF;
END $$;

-- The partitions that may leave their tables: trades and journal that end by an edge, orders that no trade after it can
-- refer to: none lives longer than 180 days.  Without the right to unhook foreign keys orders stay.
CREATE FUNCTION archivable_partitions(edge TIMESTAMPTZ) RETURNS TABLE (
    name TEXT, parent TEXT, low_at TIMESTAMPTZ, high_at TIMESTAMPTZ
) LANGUAGE sql STABLE AS $$
    SELECT c.relname, s.parent, s.low_at, s.high_at
    FROM pg_inherits i
    JOIN pg_class c ON c.oid = i.inhrelid
    CROSS JOIN LATERAL public.partition_span(c.relname) s
    WHERE i.inhparent IN ('public.journal'::REGCLASS, 'public.orders'::REGCLASS, 'public.trades'::REGCLASS)
        AND s.high_at + CASE s.parent WHEN 'orders' THEN INTERVAL '180 days' ELSE INTERVAL '0' END <= edge
    -- Trades first: they refer to orders.
    ORDER BY array_position(ARRAY['trades', 'journal', 'orders'], s.parent), s.low_at
$$;

-- Takes a partition out of its table, into schema archive.  Its rows must be settled and ended, and all that an anchor
-- covers.  Returns how many there are.
CREATE FUNCTION detach_partition(name TEXT) RETURNS BIGINT LANGUAGE plpgsql SET timezone = 'UTC' AS $$
DECLARE
    span RECORD := partition_span(name);
    key TEXT := (partition_terms(span.parent)).key;
    edge TIMESTAMPTZ := (SELECT max(edge_at) FROM anchors);
    constraint_name TEXT;
    found BIGINT;
    moved BIGINT;
BEGIN
    IF span.parent IS NULL THEN
        RAISE EXCEPTION 'there is no partition %', name USING ERRCODE = 'undefined_table';
    END IF;
    EXECUTE format('SELECT count(*) FROM %I', name) INTO found;
    IF found > 0 AND (edge IS NULL OR edge < span.high_at) THEN
        RAISE EXCEPTION 'no anchor covers %: make one by `trade-engine partitions archive`', name
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    IF span.parent = 'orders' THEN
        -- A trade changes its orders, so no trade that is still in its table refers to one that was not changed since.
        EXECUTE format('SELECT count(*) FROM (SELECT FROM %I WHERE is_open OR updated_at >= $1 LIMIT 1) x', name)
            INTO moved USING coalesce(edge, 'infinity');
        IF moved > 0 THEN
            RAISE EXCEPTION '% holds orders that are open, or were after the anchor', name
                USING ERRCODE = 'object_not_in_prerequisite_state';
        END IF;
        IF EXISTS (SELECT FROM trades WHERE trade_id >= uuid7_floor(span.low_at) AND trade_id < uuid7_floor(edge)) THEN
            RAISE EXCEPTION 'trades that may refer to % are not archived yet', name
                USING ERRCODE = 'object_not_in_prerequisite_state';
        END IF;
        -- Detaching looks for trades that refer to these orders, by reading all trades under a lock that stops the
        -- writer; there is nothing to look for if there are no orders.  So they leave row by row, as nobody changes them
        -- any more, and the empty partition goes.
        EXECUTE format('CREATE TABLE archive.%I (LIKE %I INCLUDING DEFAULTS)', name, name);
        EXECUTE format('INSERT INTO archive.%1$I SELECT * FROM public.%1$I', name);
        PERFORM set_config('session_replication_role', 'replica', TRUE);
        EXECUTE format('DELETE FROM public.%I', name);
        GET DIAGNOSTICS moved = ROW_COUNT;
        PERFORM set_config('session_replication_role', 'origin', TRUE);
        IF moved <> found THEN
            RAISE EXCEPTION '% changed while it was archived', name USING ERRCODE = 'serialization_failure';
        END IF;
    ELSE
        IF span.parent = 'trades' THEN
            IF EXISTS (SELECT FROM settlement_instructions i WHERE i.trade_id >= uuid7_floor(span.low_at)
                       AND i.trade_id < uuid7_floor(span.high_at)) THEN
                RAISE EXCEPTION '% holds trades that are not settled', name
                    USING ERRCODE = 'object_not_in_prerequisite_state';
            END IF;
            -- In the writer's order.
            LOCK TABLE orders IN SHARE ROW EXCLUSIVE MODE;
        END IF;
        EXECUTE format('LOCK TABLE ONLY %I, %I IN ACCESS EXCLUSIVE MODE', span.parent, span.parent || '_default');
        EXECUTE format('ALTER TABLE %I DETACH PARTITION %I', span.parent, name);
        FOR constraint_name IN
            SELECT conname FROM pg_constraint WHERE conrelid = name::REGCLASS AND contype = 'f' AND conparentid = 0
        LOOP
            EXECUTE format('ALTER TABLE %I DROP CONSTRAINT %I', name, constraint_name);
        END LOOP;
        EXECUTE format('ALTER TABLE %I SET SCHEMA archive', name);
    END IF;
    RETURN found;
END $$;

-- Lets go of the partition of orders that detach_partition emptied.
CREATE FUNCTION drop_emptied_partition(name TEXT) RETURNS VOID LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('LOCK TABLE ONLY orders, orders_default, %I IN ACCESS EXCLUSIVE MODE', name);
    EXECUTE format('ALTER TABLE orders DETACH PARTITION %I', name);
    EXECUTE format('DROP TABLE %I', name);
END $$;

-- Detaches what is older than so many months and an anchor covers, into schema archive, where it waits to become a file:
-- `trade-engine partitions archive`.  The partitions that it detached.
CREATE FUNCTION monitoring.archive_old_partitions(retention_months INTEGER DEFAULT 12) RETURNS SETOF TEXT
LANGUAGE plpgsql SET search_path = public SET timezone = 'UTC' AS $$
DECLARE
    edge TIMESTAMPTZ := date_trunc('month', now()) - make_interval(months => retention_months);
    part RECORD;
    held BIGINT;
BEGIN
    FOR part IN SELECT * FROM archivable_partitions(edge) LOOP
        EXECUTE format('SELECT count(*) FROM (SELECT FROM %I LIMIT 1) x', part.name) INTO held;
        -- Without rows nothing needs an anchor.
        CONTINUE WHEN held > 0 AND part.high_at > coalesce((SELECT max(edge_at) FROM anchors), '-infinity');
        BEGIN
            PERFORM detach_partition(part.name);
            IF part.parent = 'orders' THEN
                PERFORM drop_emptied_partition(part.name);
            END IF;
            RETURN NEXT part.name;
        EXCEPTION WHEN object_not_in_prerequisite_state THEN
            RAISE NOTICE '%', SQLERRM;
        END;
    END LOOP;
END $$;
