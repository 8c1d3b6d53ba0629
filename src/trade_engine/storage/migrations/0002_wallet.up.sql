-- The wallet's ledger (SPEC 5.6, DESIGN 5): a context of its own that refers to no table of the engine.

CREATE SCHEMA wallet;

CREATE TYPE wallet.ledger_entry_type_enum AS ENUM
    ('RESERVE', 'RELEASE', 'TRADE_BUY', 'TRADE_SELL', 'FEE', 'DEPOSIT', 'WITHDRAWAL');

-- The highest epoch of the engine's writer that was seen: a lower one may reserve no more.
CREATE TABLE wallet.fence (
    id SMALLINT PRIMARY KEY DEFAULT 1 CHECK (id = 1),
    epoch BIGINT NOT NULL DEFAULT 0
);
INSERT INTO wallet.fence DEFAULT VALUES;

-- The account of the world outside, where deposits come from; the only one that may be below zero.
CREATE FUNCTION wallet.outside_account() RETURNS UUID
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT '00000000-0000-7000-8000-000000000001'::UUID $$;

CREATE TABLE wallet.balances (
    user_id UUID NOT NULL,
    asset TEXT COLLATE "C" NOT NULL,
    available NUMERIC(38, 8) NOT NULL DEFAULT 0,
    reserved NUMERIC(38, 8) NOT NULL DEFAULT 0,
    PRIMARY KEY (user_id, asset),
    CONSTRAINT available_not_negative
        CHECK (available >= 0 OR user_id = '00000000-0000-7000-8000-000000000001'),
    CONSTRAINT reserved_not_negative CHECK (reserved >= 0)
) WITH (fillfactor = 50);

-- What orders still have reserved.  A row goes when it is empty; a closed one stays and refuses a late reserve.
-- Whoever writes a row holds the lock of its balance.
CREATE TABLE wallet.reservations (
    order_id UUID PRIMARY KEY,
    user_id UUID NOT NULL,
    asset TEXT COLLATE "C" NOT NULL,
    remaining NUMERIC(38, 8) NOT NULL,
    closed BOOLEAN NOT NULL DEFAULT FALSE,
    epoch BIGINT NOT NULL,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    CONSTRAINT open_or_empty CHECK (CASE WHEN closed THEN remaining = 0 ELSE remaining > 0 END)
) WITH (fillfactor = 70);

CREATE TABLE wallet.ledger_entries (
    entry_id BIGINT GENERATED ALWAYS AS IDENTITY,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    type wallet.ledger_entry_type_enum NOT NULL,
    line SMALLINT NOT NULL,
    operation_id UUID NOT NULL,
    user_id UUID NOT NULL,
    reference_id UUID NOT NULL,
    asset TEXT COLLATE "C" NOT NULL,
    available_delta NUMERIC(38, 8) NOT NULL,
    reserved_delta NUMERIC(38, 8) NOT NULL,
    available_after NUMERIC(38, 8) NOT NULL,
    reserved_after NUMERIC(38, 8) NOT NULL,
    description TEXT NOT NULL,
    PRIMARY KEY (operation_id, line),
    CONSTRAINT moves_something CHECK (available_delta <> 0 OR reserved_delta <> 0),
    CONSTRAINT available_after_not_negative
        CHECK (available_after >= 0 OR user_id = '00000000-0000-7000-8000-000000000001'),
    CONSTRAINT reserved_after_not_negative CHECK (reserved_after >= 0)
);
COMMENT ON COLUMN wallet.ledger_entries.operation_id IS 'the transaction: a trade, or the operation id of the caller';
COMMENT ON COLUMN wallet.ledger_entries.line IS
    '1-8 a trade, 11 reserve, 12 release, 13-14 deposit, 15-16 withdrawal: so one id may serve an operation of each';
CREATE INDEX ledger_entries_by_user ON wallet.ledger_entries (user_id, entry_id);

CREATE FUNCTION wallet.refuse_unbalanced() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (
        SELECT FROM added GROUP BY operation_id, asset HAVING sum(available_delta + reserved_delta) <> 0
    ) THEN
        RAISE EXCEPTION 'ledger: the entries of a transaction do not sum to zero'
            USING ERRCODE = 'check_violation', CONSTRAINT = 'ledger_zero_sum';
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION wallet.refuse_change() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'ledger: entries are append-only, % is refused', TG_OP USING ERRCODE = 'restrict_violation';
END $$;

CREATE TRIGGER zero_sum AFTER INSERT ON wallet.ledger_entries
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION wallet.refuse_unbalanced();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON wallet.ledger_entries
    FOR EACH STATEMENT EXECUTE FUNCTION wallet.refuse_change();

-- The functions below take one array a field and one element an item, amounts in units of 1e-8, and answer one row an
-- item, in order.  Each is one transaction: lock the balances concerned in sorted order, look up earlier answers and
-- reservations under those locks, decide item by item, write each table once.  Look-ups are LATERAL ... OFFSET 0, so
-- that no plan made while the tables were small ever scans them.

-- Numbers a list of balances by (user, asset) in sorted order, locks those that exist, in that order, and gives back
-- the number of each list element and, by number, what was locked (NULL: there is no such balance).
CREATE FUNCTION wallet.lock_balances(
    p_users UUID[], p_assets TEXT[],
    OUT number_of INTEGER[], OUT users UUID[], OUT assets TEXT[], OUT available NUMERIC[], OUT reserved NUMERIC[]
) LANGUAGE plpgsql SET enable_seqscan = off SET jit = off AS $$
#variable_conflict use_column
BEGIN
    SELECT array_agg(k.number ORDER BY k.n) INTO number_of
    FROM (
        SELECT i.n, dense_rank() OVER (ORDER BY i.user_id, i.asset COLLATE "C")::INTEGER AS number
        FROM unnest(p_users, p_assets) WITH ORDINALITY AS i(user_id, asset, n)
    ) k;
    SELECT array_agg(l.user_id), array_agg(l.asset), array_agg(l.available), array_agg(l.reserved)
    INTO users, assets, available, reserved
    FROM (
        SELECT k.user_id, k.asset, b.available, b.reserved
        FROM (
            SELECT DISTINCT i.user_id, i.asset COLLATE "C" AS asset
            FROM unnest(p_users, p_assets) AS i(user_id, asset)
            ORDER BY 1, 2
        ) k
        LEFT JOIN LATERAL (
            SELECT x.available, x.reserved FROM wallet.balances x
            WHERE x.user_id = k.user_id AND x.asset = k.asset
            FOR UPDATE
        ) b ON TRUE
    ) l;
END $$;

-- Makes the balances of a list that do not exist yet, in sorted order; those that it made.  Comes before the locks:
-- a transaction waits for another's new balance only while it holds no lock, so the two never wait for each other.
CREATE FUNCTION wallet.open_balances(p_users UUID[], p_assets TEXT[], OUT made_users UUID[], OUT made_assets TEXT[])
LANGUAGE plpgsql SET enable_seqscan = off SET jit = off AS $$
BEGIN
    WITH made AS (
        INSERT INTO wallet.balances (user_id, asset)
        SELECT DISTINCT i.user_id, i.asset COLLATE "C"
        FROM unnest(p_users, p_assets) AS i(user_id, asset)
        LEFT JOIN LATERAL (
            SELECT TRUE AS found FROM wallet.balances x WHERE x.user_id = i.user_id AND x.asset = i.asset OFFSET 0
        ) b ON TRUE
        WHERE b.found IS NULL
        ORDER BY 1, 2
        ON CONFLICT DO NOTHING
        RETURNING user_id, asset
    )
    SELECT array_agg(m.user_id), array_agg(m.asset) INTO made_users, made_assets FROM made m;
END $$;

-- Takes back the balances that were made for items that were then refused: those leave no trace.
CREATE FUNCTION wallet.drop_unused_balances(
    p_made_users UUID[], p_made_assets TEXT[], p_users UUID[], p_assets TEXT[], p_moved BOOLEAN[]
) RETURNS VOID LANGUAGE plpgsql SET enable_seqscan = off SET jit = off AS $$
BEGIN
    DELETE FROM wallet.balances b
    USING unnest(p_made_users, p_made_assets) AS m(user_id, asset), unnest(p_users, p_assets, p_moved)
        AS k(user_id, asset, moved)
    WHERE b.user_id = m.user_id AND b.asset = m.asset AND k.user_id = m.user_id AND k.asset = m.asset AND NOT k.moved;
END $$;

-- What is reserved for a list of orders: numbered and looked up as balances are; under their locks.
CREATE FUNCTION wallet.find_reservations(
    p_orders UUID[],
    OUT number_of INTEGER[], OUT orders UUID[], OUT users UUID[], OUT assets TEXT[], OUT remaining NUMERIC[],
    OUT closed BOOLEAN[]
) LANGUAGE plpgsql SET enable_seqscan = off SET jit = off AS $$
#variable_conflict use_column
BEGIN
    SELECT array_agg(k.number ORDER BY k.n) INTO number_of
    FROM (
        SELECT i.n, dense_rank() OVER (ORDER BY i.order_id)::INTEGER AS number
        FROM unnest(p_orders) WITH ORDINALITY AS i(order_id, n)
    ) k;
    SELECT array_agg(k.order_id ORDER BY k.order_id), array_agg(r.user_id ORDER BY k.order_id),
        array_agg(r.asset ORDER BY k.order_id), array_agg(coalesce(r.remaining, 0) ORDER BY k.order_id),
        array_agg(coalesce(r.closed, FALSE) ORDER BY k.order_id)
    INTO orders, users, assets, remaining, closed
    FROM (SELECT DISTINCT i.order_id FROM unnest(p_orders) AS i(order_id)) k
    LEFT JOIN LATERAL (
        SELECT x.* FROM wallet.reservations x WHERE x.order_id = k.order_id OFFSET 0
    ) r ON TRUE;
END $$;

-- Writes what became of reservations: what is empty goes, unless it is closed.  One that was not found (it had no user)
-- is inserted plainly: if another transaction was faster under another balance's lock, this one fails and is repeated.
CREATE FUNCTION wallet.write_reservations(
    p_epoch BIGINT, p_orders UUID[], p_found UUID[], p_users UUID[], p_assets TEXT[], p_remaining NUMERIC[],
    p_closed BOOLEAN[], p_moved BOOLEAN[]
) RETURNS VOID LANGUAGE plpgsql SET enable_seqscan = off SET jit = off AS $$
DECLARE
    emptied UUID[];
    updates INTEGER;
BEGIN
    SELECT array_agg(k.order_id) FILTER (WHERE k.remaining = 0 AND NOT k.closed),
        count(*) FILTER (WHERE k.found IS NOT NULL AND (k.remaining > 0 OR k.closed))
    INTO emptied, updates
    FROM unnest(p_orders, p_found, p_remaining, p_closed, p_moved) AS k(order_id, found, remaining, closed, moved)
    WHERE k.moved;
    IF emptied IS NOT NULL THEN
        DELETE FROM wallet.reservations h WHERE h.order_id = ANY (emptied);
    END IF;
    INSERT INTO wallet.reservations (order_id, user_id, asset, remaining, closed, epoch)
    SELECT k.order_id, k.user_id, k.asset, k.remaining, k.closed, p_epoch
    FROM unnest(p_orders, p_found, p_users, p_assets, p_remaining, p_closed, p_moved)
        AS k(order_id, found, user_id, asset, remaining, closed, moved)
    WHERE k.moved AND k.found IS NULL AND (k.remaining > 0 OR k.closed);
    IF updates > 0 THEN
        INSERT INTO wallet.reservations AS h (order_id, user_id, asset, remaining, closed, epoch)
        SELECT k.order_id, k.user_id, k.asset, k.remaining, k.closed, p_epoch
        FROM unnest(p_orders, p_found, p_users, p_assets, p_remaining, p_closed, p_moved)
            AS k(order_id, found, user_id, asset, remaining, closed, moved)
        WHERE k.moved AND k.found IS NOT NULL AND (k.remaining > 0 OR k.closed)
        ON CONFLICT (order_id) DO UPDATE
        SET remaining = excluded.remaining, closed = excluded.closed, epoch = greatest(h.epoch, excluded.epoch);
    END IF;
END $$;

-- Writes the balances that moved; all are locked by now.
CREATE FUNCTION wallet.write_balances(
    p_users UUID[], p_assets TEXT[], p_available NUMERIC[], p_reserved NUMERIC[], p_moved BOOLEAN[]
) RETURNS VOID LANGUAGE plpgsql SET enable_seqscan = off SET jit = off AS $$
BEGIN
    INSERT INTO wallet.balances (user_id, asset, available, reserved)
    SELECT k.user_id, k.asset, k.available, k.reserved
    FROM unnest(p_users, p_assets, p_available, p_reserved, p_moved) AS k(user_id, asset, available, reserved, moved)
    WHERE k.moved
    ON CONFLICT (user_id, asset) DO UPDATE SET available = excluded.available, reserved = excluded.reserved;
END $$;

-- Whether a writer of this epoch may reserve; a higher one than ever before becomes the fence, once every reserve
-- under way has ended.
CREATE FUNCTION wallet.pass_fence(p_epoch BIGINT) RETURNS BOOLEAN LANGUAGE plpgsql AS $$
DECLARE
    fence_lock CONSTANT BIGINT := 7020260001;
BEGIN
    IF p_epoch > (SELECT f.epoch FROM wallet.fence f) THEN
        PERFORM pg_advisory_xact_lock(fence_lock);
        UPDATE wallet.fence SET epoch = p_epoch WHERE epoch < p_epoch;
    ELSE
        PERFORM pg_advisory_xact_lock_shared(fence_lock);
    END IF;
    RETURN p_epoch >= (SELECT f.epoch FROM wallet.fence f);
END $$;
