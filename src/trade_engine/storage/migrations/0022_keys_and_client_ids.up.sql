-- API keys whose owner keeps the private key: Ed25519 and RSA.  Client order ids that may be given again.

ALTER TABLE api_keys
    ADD COLUMN algorithm TEXT NOT NULL DEFAULT 'HMAC-SHA256' CHECK (algorithm IN ('HMAC-SHA256', 'ED25519', 'RSA')),
    ADD COLUMN public_key BYTEA CHECK (length(public_key) BETWEEN 32 AND 1000),
    ALTER COLUMN secret DROP NOT NULL,
    ADD CONSTRAINT secret_or_public_key CHECK (
        (algorithm = 'HMAC-SHA256') = (secret IS NOT NULL) AND (secret IS NULL) = (public_key IS NOT NULL));
COMMENT ON COLUMN api_keys.public_key IS 'of ED25519 and RSA: SubjectPublicKeyInfo, DER';

-- Forgets client order ids whose orders have ended, in the transaction of the commit that gives them again.
CREATE FUNCTION free_client_ids(f_user UUID[], f_client TEXT[]) RETURNS VOID LANGUAGE sql AS $$
    DELETE FROM client_orders c USING unnest(f_user, f_client) AS f (user_id, client_order_id)
    WHERE c.user_id = f.user_id AND c.client_order_id = f.client_order_id
        AND NOT EXISTS (SELECT FROM orders o WHERE o.order_id = c.order_id AND o.is_open)
$$;

-- Dead-man's switches: whose orders are cancelled if he gives no sign of life by then.
CREATE TABLE cancel_timers (
    user_id UUID NOT NULL,
    -- 0: of all markets.
    market_id INTEGER NOT NULL,
    due_at TIMESTAMPTZ NOT NULL,
    PRIMARY KEY (user_id, market_id)
) WITH (fillfactor = 70);
COMMENT ON TABLE cancel_timers IS 'orders of users who asked for it are cancelled at due_at, unless they put it off';
