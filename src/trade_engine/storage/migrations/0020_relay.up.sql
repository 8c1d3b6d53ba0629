-- Events for other services: where the relay stands, and the settlement events that wait for it.

CREATE TABLE event_relay (
    id SMALLINT PRIMARY KEY DEFAULT 1 CHECK (id = 1),
    stream_id UUID NOT NULL DEFAULT gen_random_uuid(),
    epoch BIGINT NOT NULL DEFAULT 0,
    holder_id UUID,
    holder_name TEXT,
    begun_after BIGINT,
    sequence BIGINT NOT NULL DEFAULT 0,
    message_index INTEGER,
    outbox_number BIGINT NOT NULL DEFAULT 0,
    moved_at TIMESTAMPTZ,
    CHECK (begun_after <= sequence)
) WITH (fillfactor = 10);
COMMENT ON COLUMN event_relay.stream_id IS 'begins every message id; a restored backup gets a new one';
COMMENT ON COLUMN event_relay.epoch IS 'a relay whose epoch is not this one is superseded and moves nothing';
COMMENT ON COLUMN event_relay.begun_after IS 'the last command that was never published; NULL: nobody has asked for events';
COMMENT ON COLUMN event_relay.sequence IS 'published: all of the commands up to this one, but for';
COMMENT ON COLUMN event_relay.message_index IS 'messages of that command above this one; NULL: none is left';
COMMENT ON COLUMN event_relay.outbox_number IS 'the last settlement event published';
INSERT INTO event_relay DEFAULT VALUES;

-- The last number given; locked by whoever settles, until its transaction ends, so that numbers come in order.
CREATE TABLE settlement_outbox_head (
    id SMALLINT PRIMARY KEY DEFAULT 1 CHECK (id = 1),
    number BIGINT NOT NULL DEFAULT 0,
    wanted BOOLEAN NOT NULL DEFAULT FALSE
) WITH (fillfactor = 10);
COMMENT ON COLUMN settlement_outbox_head.wanted IS 'whether a relay has ever asked for events; else none is kept';
INSERT INTO settlement_outbox_head DEFAULT VALUES;

CREATE TABLE settlement_outbox (
    number BIGINT PRIMARY KEY,
    trade_id UUID NOT NULL,
    settled BOOLEAN NOT NULL,
    happened_at TIMESTAMPTZ NOT NULL,
    reason TEXT,
    attempts SMALLINT
);

-- Notes what became of trades, in the transaction that marks them; nothing if nobody has asked for events.
CREATE FUNCTION note_settlements(
    p_trades UUID[], p_settled BOOLEAN, p_at TIMESTAMPTZ, p_reasons TEXT[] DEFAULT NULL, p_attempts SMALLINT[] DEFAULT NULL
) RETURNS INTEGER LANGUAGE plpgsql AS $$
DECLARE
    count CONSTANT INTEGER := coalesce(cardinality(p_trades), 0);
    before BIGINT;
BEGIN
    IF count > 0 THEN
        UPDATE settlement_outbox_head SET number = number + count WHERE wanted RETURNING number - count INTO before;
    END IF;
    IF before IS NULL THEN
        RETURN 0;
    END IF;
    INSERT INTO settlement_outbox (number, trade_id, settled, happened_at, reason, attempts)
    SELECT before + n, p_trades[n], p_settled, p_at, p_reasons[n], p_attempts[n] FROM generate_series(1, count) AS n;
    RETURN count;
END $$;
