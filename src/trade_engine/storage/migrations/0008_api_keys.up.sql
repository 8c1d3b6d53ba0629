-- API keys: who may sign requests with which secret (SPEC 7.5); the secret is encrypted, with the key's id beside it.

CREATE TABLE api_keys (
    key_id TEXT PRIMARY KEY CHECK (key_id ~ '^tek_[0-9a-f]{32}$'),
    user_id UUID NOT NULL,
    institution_id TEXT CHECK (length(institution_id) BETWEEN 1 AND 100),
    name TEXT NOT NULL CHECK (length(name) BETWEEN 1 AND 100),
    scopes TEXT[] NOT NULL CHECK (cardinality(scopes) > 0 AND scopes <@ ARRAY['read', 'trade', 'withdraw']),
    ip_allow_list CIDR[] NOT NULL DEFAULT '{}' CHECK (cardinality(ip_allow_list) <= 50),
    secret BYTEA NOT NULL CHECK (length(secret) > 28),
    created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    expires_at TIMESTAMPTZ,
    last_used_at TIMESTAMPTZ,
    revoked_at TIMESTAMPTZ
);
CREATE INDEX api_keys_by_user ON api_keys (user_id, created_at);
COMMENT ON COLUMN api_keys.secret IS 'AES-256-GCM: nonce of 12 bytes, then ciphertext and tag; key_id is authenticated';
COMMENT ON COLUMN api_keys.ip_allow_list IS 'addresses it may be used from; empty is any';
COMMENT ON COLUMN api_keys.last_used_at IS 'written every few seconds, not with each request';
