-- One-cancels-other pairs of orders: which legs belong together, and whose reservation pays for the second one.

CREATE TABLE order_pairs (
    first_order_id UUID PRIMARY KEY,
    second_order_id UUID NOT NULL UNIQUE,
    pair_number BIGINT NOT NULL,
    user_id UUID NOT NULL,
    market_id INTEGER NOT NULL REFERENCES markets,
    client_pair_id TEXT CHECK (length(client_pair_id) <= 100),
    created_at TIMESTAMPTZ NOT NULL
);
COMMENT ON TABLE order_pairs IS 'legs of one-cancels-other pairs';
COMMENT ON COLUMN order_pairs.first_order_id IS 'the leg whose reservation pays for whichever of them trades';
COMMENT ON COLUMN order_pairs.pair_number IS 'the sequence of the first leg';
COMMENT ON COLUMN order_pairs.client_pair_id IS 'what the user calls it';
CREATE UNIQUE INDEX order_pairs_by_user ON order_pairs (user_id, pair_number);
CREATE INDEX order_pairs_by_client ON order_pairs (user_id, client_pair_id, pair_number) WHERE client_pair_id IS NOT NULL;

-- Writes the pairs of a batch, in the transaction of its commit.
CREATE FUNCTION note_pairs(
    p_first UUID[], p_second UUID[], p_number BIGINT[], p_user UUID[], p_market INTEGER[], p_client TEXT[],
    p_created_us BIGINT[]
) RETURNS VOID LANGUAGE sql AS $$
    INSERT INTO order_pairs (
        first_order_id, second_order_id, pair_number, user_id, market_id, client_pair_id, created_at)
    SELECT p.first, p.second, p.number, p.user_id, p.market_id, p.client, at_us(p.created_us)
    FROM unnest(p_first, p_second, p_number, p_user, p_market, p_client, p_created_us)
        AS p (first, second, number, user_id, market_id, client, created_us)
$$;

-- The order whose reservation pays for an order: itself, or the first leg of its pair.
CREATE FUNCTION funding_order(p_order UUID) RETURNS UUID LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT coalesce((SELECT p.first_order_id FROM order_pairs p WHERE p.second_order_id = p_order), p_order)
$$;

-- Pairs whose orders are archived.
CREATE FUNCTION monitoring.purge_order_pairs(most INTEGER DEFAULT 10000, least_days INTEGER DEFAULT 180)
RETURNS BIGINT LANGUAGE plpgsql SET search_path = public AS $$
DECLARE
    purged BIGINT;
BEGIN
    DELETE FROM order_pairs p USING (
        SELECT k.first_order_id FROM order_pairs k
        WHERE k.first_order_id < uuid7_floor(now() - make_interval(days => least_days))
            AND NOT EXISTS (SELECT FROM orders o WHERE o.order_id IN (k.first_order_id, k.second_order_id))
        ORDER BY k.first_order_id LIMIT most
    ) old
    WHERE p.first_order_id = old.first_order_id;
    GET DIAGNOSTICS purged = ROW_COUNT;
    RETURN purged;
END $$;
