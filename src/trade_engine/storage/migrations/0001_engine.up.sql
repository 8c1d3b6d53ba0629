-- Orders, trades, the journal and the state of the writer (SPEC 9, DESIGN 4 and 6).

CREATE TYPE side_enum AS ENUM ('BUY', 'SELL');
CREATE TYPE order_type_enum AS ENUM ('LIMIT', 'MARKET', 'STOP', 'STOP_LIMIT');
CREATE TYPE time_in_force_enum AS ENUM ('GTC', 'IOC', 'FOK', 'DAY', 'GTD');
CREATE TYPE self_trade_prevention_enum AS ENUM ('CANCEL_NEWEST', 'CANCEL_OLDEST', 'CANCEL_BOTH', 'DECREMENT', 'NONE');
CREATE TYPE order_status_enum AS ENUM
    ('PENDING', 'OPEN', 'PARTIALLY_FILLED', 'FILLED', 'CANCELLED', 'REJECTED', 'EXPIRED');
CREATE TYPE settlement_status_enum AS ENUM ('PENDING', 'SETTLED', 'FAILED');
CREATE TYPE market_state_enum AS ENUM ('OPEN', 'HALTED', 'CANCEL_ONLY', 'CLOSED');
CREATE TYPE fee_asset_enum AS ENUM ('QUOTE', 'RECEIVED');
CREATE TYPE instruction_kind_enum AS ENUM ('SETTLE', 'RELEASE');
CREATE TYPE instruction_status_enum AS ENUM ('PENDING', 'RETRY', 'FAILED');

-- The lowest UUIDv7 of a time: partition bounds and time ranges are made of it.
CREATE FUNCTION uuid7_floor(at TIMESTAMPTZ) RETURNS UUID
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT (lpad(to_hex((extract(epoch FROM at) * 1000)::BIGINT), 12, '0') || '70008000000000000000')::UUID
$$;

-- Microseconds since 1970 as a time; 0 is no time.  STABLE, as adding an interval is, so that it is inlined.
CREATE FUNCTION at_us(us BIGINT) RETURNS TIMESTAMPTZ LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT TIMESTAMPTZ '1970-01-01 00:00:00+00' + nullif(us, 0) * INTERVAL '1 microsecond'
$$;

CREATE TABLE engine_state (
    id SMALLINT PRIMARY KEY DEFAULT 1 CHECK (id = 1),
    epoch BIGINT NOT NULL DEFAULT 0,
    sequence BIGINT NOT NULL DEFAULT 0,
    trade_sequence BIGINT NOT NULL DEFAULT 0,
    instruction_id BIGINT NOT NULL DEFAULT 0,
    clock_us BIGINT NOT NULL DEFAULT 0,
    journal_hash BYTEA NOT NULL DEFAULT '\x',
    state_hash BYTEA NOT NULL DEFAULT '\x00000000000000000000000000000000'
) WITH (fillfactor = 50);
INSERT INTO engine_state DEFAULT VALUES;

CREATE TABLE markets (
    market_id INTEGER PRIMARY KEY,
    symbol TEXT NOT NULL UNIQUE,
    base TEXT NOT NULL,
    quote TEXT NOT NULL,
    tick_size NUMERIC(20, 8) NOT NULL CHECK (tick_size > 0),
    lot_size NUMERIC(20, 8) NOT NULL CHECK (lot_size > 0),
    min_quantity NUMERIC(20, 8) NOT NULL CHECK (min_quantity > 0),
    max_quantity NUMERIC(20, 8) NOT NULL CHECK (max_quantity >= min_quantity),
    min_notional NUMERIC(20, 8) NOT NULL CHECK (min_notional >= 0),
    maker_fee NUMERIC(10, 8) NOT NULL CHECK (maker_fee >= 0 AND maker_fee < 1),
    taker_fee NUMERIC(10, 8) NOT NULL CHECK (taker_fee >= 0 AND taker_fee < 1),
    fee_asset fee_asset_enum NOT NULL,
    managed BOOLEAN NOT NULL DEFAULT FALSE,
    state market_state_enum NOT NULL DEFAULT 'OPEN',
    last_price NUMERIC(20, 8) NOT NULL DEFAULT 0,
    event_sequence BIGINT NOT NULL DEFAULT 0,
    priority_sequence BIGINT NOT NULL DEFAULT 0,
    price_band_ppm BIGINT NOT NULL DEFAULT 0,
    max_slippage_ppm BIGINT NOT NULL DEFAULT 0,
    min_notional_ticks BIGINT NOT NULL DEFAULT 0,
    max_open_orders BIGINT NOT NULL DEFAULT 0,
    max_fills BIGINT NOT NULL DEFAULT 0
) WITH (fillfactor = 50);
COMMENT ON COLUMN markets.managed IS 'listed or changed while running: the configuration no longer speaks for it';
COMMENT ON COLUMN markets.min_notional_ticks IS 'minimum notional in ticks x lots, as the core knows it';

CREATE TABLE traders (
    trader_number BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id UUID NOT NULL UNIQUE
);

CREATE TABLE orders (
    order_id UUID NOT NULL PRIMARY KEY,
    sequence BIGINT NOT NULL,
    user_id UUID NOT NULL,
    market_id INTEGER NOT NULL REFERENCES markets,
    side side_enum NOT NULL,
    type order_type_enum NOT NULL,
    time_in_force time_in_force_enum NOT NULL,
    self_trade_prevention self_trade_prevention_enum NOT NULL,
    flags SMALLINT NOT NULL,
    status order_status_enum NOT NULL,
    is_open BOOLEAN NOT NULL,
    reason TEXT,
    client_order_id TEXT CHECK (length(client_order_id) <= 100),
    institution_id TEXT,
    price NUMERIC(20, 8),
    quantity NUMERIC(20, 8) NOT NULL,
    stop_price NUMERIC(20, 8),
    display_quantity NUMERIC(20, 8),
    max_notional NUMERIC(20, 8) NOT NULL,
    filled_quantity NUMERIC(20, 8) NOT NULL,
    filled_notional NUMERIC(20, 8) NOT NULL,
    cancelled_quantity NUMERIC(20, 8) NOT NULL,
    priority_sequence BIGINT NOT NULL,
    display_remaining NUMERIC(20, 8) NOT NULL,
    linked_sequence BIGINT NOT NULL,
    maker_fee NUMERIC(10, 8) NOT NULL,
    taker_fee NUMERIC(10, 8) NOT NULL,
    fee_asset fee_asset_enum NOT NULL,
    maker_basis NUMERIC(20, 8) NOT NULL,
    taker_basis NUMERIC(20, 8) NOT NULL,
    fee_charged NUMERIC(20, 8) NOT NULL,
    reserved NUMERIC(20, 8) NOT NULL,
    hold NUMERIC(20, 8) NOT NULL CHECK (hold >= 0),
    expires_at TIMESTAMPTZ,
    created_at TIMESTAMPTZ NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL,
    filled_at TIMESTAMPTZ,
    cancelled_at TIMESTAMPTZ,
    CONSTRAINT quantity_positive CHECK (quantity > 0 OR (type = 'MARKET' AND max_notional > 0)),
    CONSTRAINT filled_within_quantity CHECK (filled_quantity >= 0 AND filled_quantity + cancelled_quantity <= quantity),
    CONSTRAINT market_has_no_price CHECK (type NOT IN ('MARKET', 'STOP') OR price IS NULL),
    CONSTRAINT limit_has_a_price CHECK (type NOT IN ('LIMIT', 'STOP_LIMIT') OR price > 0),
    CONSTRAINT stop_has_a_stop_price CHECK ((type IN ('STOP', 'STOP_LIMIT')) = (stop_price IS NOT NULL)),
    CONSTRAINT ended_holds_nothing CHECK (is_open OR hold = 0),
    CONSTRAINT open_by_status CHECK (is_open = (status IN ('PENDING', 'OPEN', 'PARTIALLY_FILLED')))
) PARTITION BY RANGE (order_id);
CREATE INDEX orders_by_user ON orders (user_id, market_id, order_id);
CREATE INDEX orders_open ON orders (market_id, priority_sequence) WHERE is_open;
CREATE INDEX orders_ended ON orders (status, order_id) WHERE NOT is_open;
CREATE TABLE orders_default PARTITION OF orders DEFAULT WITH (fillfactor = 70);

CREATE TABLE client_orders (
    user_id UUID NOT NULL,
    client_order_id TEXT NOT NULL,
    order_id UUID NOT NULL,
    PRIMARY KEY (user_id, client_order_id)
);

CREATE TABLE trades (
    trade_id UUID NOT NULL PRIMARY KEY,
    sequence BIGINT NOT NULL,
    market_id INTEGER NOT NULL REFERENCES markets,
    price NUMERIC(20, 8) NOT NULL CHECK (price > 0),
    quantity NUMERIC(20, 8) NOT NULL CHECK (quantity > 0),
    notional NUMERIC(20, 8) NOT NULL CHECK (notional > 0),
    buyer_order_id UUID NOT NULL REFERENCES orders,
    seller_order_id UUID NOT NULL REFERENCES orders,
    buyer_user_id UUID NOT NULL,
    seller_user_id UUID NOT NULL,
    buyer_fee NUMERIC(20, 8) NOT NULL CHECK (buyer_fee >= 0),
    seller_fee NUMERIC(20, 8) NOT NULL CHECK (seller_fee >= 0),
    buyer_fee_asset TEXT NOT NULL,
    seller_fee_asset TEXT NOT NULL,
    is_buyer_maker BOOLEAN NOT NULL,
    executed_at TIMESTAMPTZ NOT NULL,
    settlement_status settlement_status_enum NOT NULL DEFAULT 'PENDING',
    settled_at TIMESTAMPTZ,
    settlement_attempts SMALLINT NOT NULL DEFAULT 0,
    settlement_reason TEXT
) PARTITION BY RANGE (trade_id);
CREATE INDEX trades_by_buyer ON trades (buyer_user_id, trade_id);
CREATE INDEX trades_by_seller ON trades (seller_user_id, trade_id);
CREATE INDEX trades_by_market ON trades (market_id, trade_id);
CREATE TABLE trades_default PARTITION OF trades DEFAULT WITH (fillfactor = 80);

-- Wallet instructions, written in the commit that caused them and deleted when they are carried out.
CREATE TABLE settlement_instructions (
    instruction_id BIGINT PRIMARY KEY,
    kind instruction_kind_enum NOT NULL,
    trade_id UUID,
    order_id UUID,
    user_id UUID,
    asset TEXT,
    amount NUMERIC(20, 8),
    reason TEXT NOT NULL,
    status instruction_status_enum NOT NULL DEFAULT 'PENDING',
    attempts SMALLINT NOT NULL DEFAULT 0,
    last_reason TEXT,
    next_attempt_at TIMESTAMPTZ,
    created_at TIMESTAMPTZ NOT NULL,
    CONSTRAINT shape CHECK (
        (kind = 'SETTLE' AND trade_id IS NOT NULL)
        OR (kind = 'RELEASE' AND order_id IS NOT NULL AND user_id IS NOT NULL AND asset IS NOT NULL)
    )
);
COMMENT ON COLUMN settlement_instructions.amount IS 'of a RELEASE; NULL is all that is left of the reservation';
CREATE INDEX settlement_instructions_later ON settlement_instructions (status, next_attempt_at)
    WHERE status <> 'PENDING';

-- One row a committed batch: the commands as the core saw them, and its events.
CREATE TABLE journal (
    last_sequence BIGINT NOT NULL,
    first_sequence BIGINT NOT NULL,
    stamped_at TIMESTAMPTZ NOT NULL,
    epoch BIGINT NOT NULL,
    previous_hash BYTEA NOT NULL,
    hash BYTEA NOT NULL,
    state_hash BYTEA NOT NULL,
    commands BYTEA NOT NULL,
    events BYTEA NOT NULL,
    PRIMARY KEY (last_sequence, stamped_at)
) PARTITION BY RANGE (stamped_at);
CREATE TABLE journal_default PARTITION OF journal DEFAULT;

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
