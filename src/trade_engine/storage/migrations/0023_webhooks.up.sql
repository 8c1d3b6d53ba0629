-- Webhooks: where operators want events sent, what waits for each endpoint, and who sends it.

CREATE TABLE webhook_endpoints (
    endpoint_id TEXT PRIMARY KEY CHECK (endpoint_id ~ '^whe_[0-9a-f]{32}$'),
    name TEXT NOT NULL,
    url TEXT NOT NULL,
    event_types TEXT[] NOT NULL,
    symbols TEXT[] NOT NULL,
    secret BYTEA NOT NULL,
    previous_secret BYTEA,
    previous_until TIMESTAMPTZ,
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    paused_at TIMESTAMPTZ,
    paused_why TEXT,
    dropped BIGINT NOT NULL DEFAULT 0,
    CHECK ((previous_secret IS NULL) = (previous_until IS NULL)),
    CHECK ((paused_at IS NULL) = (paused_why IS NULL))
);
COMMENT ON COLUMN webhook_endpoints.event_types IS 'only these; empty: all';
COMMENT ON COLUMN webhook_endpoints.symbols IS 'only of these markets; empty: of all';
COMMENT ON COLUMN webhook_endpoints.secret IS 'AES-256-GCM, bound to the endpoint: nonce, then cipher text';
COMMENT ON COLUMN webhook_endpoints.previous_until IS 'until then each webhook is signed with the previous secret, too';
COMMENT ON COLUMN webhook_endpoints.dropped IS 'events that its full queue had no room for';

-- One row an event and endpoint: what waits, what is dead, and for a day what was delivered, by which a repetition is known.
CREATE TABLE webhook_deliveries (
    delivery_id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    endpoint_id TEXT NOT NULL REFERENCES webhook_endpoints ON DELETE CASCADE,
    symbol TEXT NOT NULL,
    message_id TEXT NOT NULL,
    event_type TEXT NOT NULL,
    body BYTEA,
    state TEXT NOT NULL DEFAULT 'WAITING' CHECK (state IN ('WAITING', 'DELIVERED', 'DEAD')),
    attempts SMALLINT NOT NULL DEFAULT 0,
    next_attempt_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    queued_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    ended_at TIMESTAMPTZ,
    last_outcome TEXT,
    UNIQUE (endpoint_id, message_id),
    CHECK ((body IS NULL) = (state = 'DELIVERED')),
    CHECK ((ended_at IS NULL) = (state = 'WAITING'))
) WITH (fillfactor = 80);
COMMENT ON COLUMN webhook_deliveries.delivery_id IS 'the order in which events are sent, within an endpoint and a market';
CREATE INDEX webhook_deliveries_waiting ON webhook_deliveries (endpoint_id, symbol, delivery_id) WHERE state = 'WAITING';
CREATE INDEX webhook_deliveries_dead ON webhook_deliveries (endpoint_id, delivery_id) WHERE state = 'DEAD';
CREATE INDEX webhook_deliveries_delivered ON webhook_deliveries (ended_at) WHERE state = 'DELIVERED';

-- Who sends: one process, for as long as it renews; what it writes under an earlier epoch has no effect.
CREATE TABLE webhook_notifier (
    id SMALLINT PRIMARY KEY DEFAULT 1 CHECK (id = 1),
    epoch BIGINT NOT NULL DEFAULT 0,
    holder_id UUID,
    holder_name TEXT,
    renewed_at TIMESTAMPTZ
) WITH (fillfactor = 10);
INSERT INTO webhook_notifier DEFAULT VALUES;
