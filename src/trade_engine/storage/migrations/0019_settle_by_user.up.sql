-- Settling a trade for a client that knows only users, assets and amounts (SPEC 5.3): each side whose order is not named is
-- taken from that user's reservations of the asset, oldest first.

CREATE INDEX reservations_by_user ON wallet.reservations (user_id, asset, created_at, order_id);

-- Gathers so much of a user's reservations of an asset, oldest first, into one of its own: its id; NULL if they do not cover
-- it, and then nothing was done.  The caller holds the lock of the balance.
CREATE FUNCTION wallet.gather_reservations(p_user UUID, p_asset TEXT, p_need NUMERIC) RETURNS UUID
LANGUAGE plpgsql SET enable_seqscan = off SET jit = off AS $$
DECLARE
    gathered CONSTANT UUID := gen_random_uuid();
    missing NUMERIC := p_need;
    taken NUMERIC;
    held wallet.reservations;
    orders UUID[] := '{}';
    lefts NUMERIC[] := '{}';
BEGIN
    FOR held IN
        SELECT * FROM wallet.reservations r WHERE r.user_id = p_user AND r.asset = p_asset COLLATE "C"
        ORDER BY r.created_at, r.order_id
    LOOP
        CONTINUE WHEN held.remaining <= 0;
        taken := least(held.remaining, missing);
        orders := orders || held.order_id;
        lefts := lefts || held.remaining - taken;
        missing := missing - taken;
        EXIT WHEN missing = 0;
    END LOOP;
    IF missing > 0 THEN
        RETURN NULL;
    END IF;
    DELETE FROM wallet.reservations r USING unnest(orders, lefts) AS t(order_id, remaining)
    WHERE r.order_id = t.order_id AND t.remaining = 0;
    UPDATE wallet.reservations r SET remaining = t.remaining FROM unnest(orders, lefts) AS t(order_id, remaining)
    WHERE r.order_id = t.order_id AND t.remaining > 0;
    INSERT INTO wallet.reservations (order_id, user_id, asset, remaining, epoch)
    VALUES (gathered, p_user, p_asset, p_need, 0);
    RETURN gathered;
END $$;

-- One trade, of which a side's order may be NULL; arguments and answer as settle_many's.
CREATE FUNCTION wallet.settle_by_user(
    p_trade UUID, p_buyer UUID, p_seller UUID, p_base TEXT, p_quote TEXT, p_quantity BIGINT, p_notional BIGINT,
    p_price BIGINT, p_buyer_fee BIGINT, p_seller_fee BIGINT, p_buyer_fee_asset TEXT, p_seller_fee_asset TEXT,
    p_buyer_order UUID, p_seller_order UUID, p_fee_account UUID
) RETURNS TABLE (code TEXT, available NUMERIC, reserved NUMERIC)
LANGUAGE plpgsql SET enable_seqscan = off SET jit = off AS $$
#variable_conflict use_column
DECLARE
    unit CONSTANT NUMERIC := 0.00000001;
    nobody CONSTANT UUID := gen_random_uuid();
    buyer_order UUID := coalesce(p_buyer_order, nobody);
    seller_order UUID := coalesce(p_seller_order, nobody);
    answer RECORD;
    refused TEXT;
BEGIN
    -- As settle_many does: all balances, in sorted order, before anything is looked at.
    PERFORM wallet.lock_balances(
        ARRAY[p_buyer, p_buyer, p_seller, p_seller, p_fee_account, p_fee_account],
        ARRAY[p_quote, p_base, p_base, p_quote, p_buyer_fee_asset, p_seller_fee_asset]);
    BEGIN
        IF NOT EXISTS (SELECT FROM wallet.ledger_entries e WHERE e.operation_id = p_trade AND e.line = 1) THEN
            IF p_buyer_order IS NULL THEN
                buyer_order := wallet.gather_reservations(p_buyer, p_quote, unit
                    * (p_notional::NUMERIC + CASE WHEN p_buyer_fee_asset = p_quote THEN p_buyer_fee ELSE 0 END));
            END IF;
            IF p_seller_order IS NULL THEN
                seller_order := wallet.gather_reservations(p_seller, p_base, unit
                    * (p_quantity::NUMERIC + CASE WHEN p_seller_fee_asset = p_base THEN p_seller_fee ELSE 0 END));
            END IF;
            IF buyer_order IS NULL OR seller_order IS NULL THEN
                RAISE EXCEPTION 'not covered' USING ERRCODE = 'TE004', DETAIL = 'INSUFFICIENT_BALANCE';
            END IF;
        END IF;
        SELECT * INTO STRICT answer FROM wallet.settle_many(
            ARRAY[p_trade], ARRAY[p_buyer], ARRAY[p_seller], ARRAY[p_base], ARRAY[p_quote], ARRAY[p_quantity],
            ARRAY[p_notional], ARRAY[p_price], ARRAY[p_buyer_fee], ARRAY[p_seller_fee], ARRAY[p_buyer_fee_asset],
            ARRAY[p_seller_fee_asset], ARRAY[buyer_order], ARRAY[seller_order], p_fee_account);
        IF answer.code <> 'OK' THEN
            RAISE EXCEPTION 'refused' USING ERRCODE = 'TE004', DETAIL = answer.code;
        END IF;
        RETURN QUERY SELECT answer.code, answer.available, answer.reserved;
    EXCEPTION WHEN SQLSTATE 'TE004' THEN
        -- What was gathered is as it was.
        GET STACKED DIAGNOSTICS refused = PG_EXCEPTION_DETAIL;
        RETURN QUERY SELECT refused, 0::NUMERIC, 0::NUMERIC;
    END;
END $$;
