-- How the wallet settles trades.
-- One array a field, one element an item, amounts in units of 1e-8; one row an item comes back: see 0002_wallet.

-- Lines of a trade: 1 buyer pays, 2 buyer receives, 3 seller pays, 4 seller receives, 5 the buyer's fee, 6 the seller's
-- fee, 7 and 8 what the exchange receives of the two (8 only if they are of different assets).
CREATE FUNCTION wallet.settle_many(
    p_trades UUID[], p_buyers UUID[], p_sellers UUID[], p_bases TEXT[], p_quotes TEXT[], p_quantities BIGINT[],
    p_notionals BIGINT[], p_prices BIGINT[], p_buyer_fees BIGINT[], p_seller_fees BIGINT[],
    p_buyer_fee_assets TEXT[], p_seller_fee_assets TEXT[], p_buyer_orders UUID[], p_seller_orders UUID[],
    p_fee_account UUID
) RETURNS TABLE (code TEXT, available NUMERIC, reserved NUMERIC)
LANGUAGE plpgsql SET enable_seqscan = off SET jit = off AS $$
#variable_conflict use_column
DECLARE
    size CONSTANT INTEGER := cardinality(p_trades);
    exchange CONSTANT UUID[] := array_fill(p_fee_account, ARRAY[size]);
    opened RECORD;
    balance RECORD;
    reservation RECORD;
    a NUMERIC[]; r NUMERIC[]; w_moved BOOLEAN[];
    r_remaining NUMERIC[]; r_moved BOOLEAN[];
    quantities NUMERIC[]; notionals NUMERIC[]; buyer_fees NUMERIC[]; seller_fees NUMERIC[];
    buyer_needs NUMERIC[]; seller_needs NUMERIC[];
    invalid BOOLEAN[]; known BOOLEAN[]; same BOOLEAN[];
    twin_of INTEGER[]; done_by INTEGER[];
    codes TEXT[] := array_fill(NULL::TEXT, ARRAY[size]);
    fresh BOOLEAN[] := array_fill(FALSE, ARRAY[size]);
    -- By trade and line, at 8 * (n - 1) + line: what its balance is after it.
    a_after NUMERIC[] := array_fill(0::NUMERIC, ARRAY[8 * size]);
    r_after NUMERIC[] := array_fill(0::NUMERIC, ARRAY[8 * size]);
    a_out NUMERIC[] := array_fill(0::NUMERIC, ARRAY[size]);
    r_out NUMERIC[] := array_fill(0::NUMERIC, ARRAY[size]);
    bq INTEGER; bb INTEGER; sb INTEGER; sq INTEGER; bf INTEGER; sf INTEGER; w INTEGER;
    rb INTEGER; rs INTEGER; t INTEGER; k INTEGER;
BEGIN
    IF size = 0 THEN
        RETURN;
    END IF;
    opened := wallet.open_settled_balances(p_buyers, p_sellers, p_bases, p_quotes, p_buyer_fees, p_seller_fees,
        p_buyer_fee_assets, p_seller_fee_assets, p_buyer_orders, p_seller_orders, p_fee_account);
    balance := wallet.lock_balances(
        p_buyers || p_buyers || p_sellers || p_sellers || exchange || exchange,
        p_quotes || p_bases || p_bases || p_quotes || p_buyer_fee_assets || p_seller_fee_assets);
    reservation := wallet.find_reservations(p_buyer_orders || p_seller_orders);
    a := balance.available; r := balance.reserved;
    w_moved := array_fill(FALSE, ARRAY[cardinality(a)]);
    r_remaining := reservation.remaining;
    r_moved := array_fill(FALSE, ARRAY[cardinality(r_remaining)]);
    SELECT array_agg(g.quantity * 0.00000001 ORDER BY g.n), array_agg(g.notional * 0.00000001 ORDER BY g.n),
        array_agg(g.buyer_fee * 0.00000001 ORDER BY g.n), array_agg(g.seller_fee * 0.00000001 ORDER BY g.n),
        array_agg((g.notional::NUMERIC + CASE WHEN g.buyer_fee_asset = g.quote THEN g.buyer_fee ELSE 0 END)
            * 0.00000001 ORDER BY g.n),
        array_agg((g.quantity::NUMERIC + CASE WHEN g.seller_fee_asset = g.base THEN g.seller_fee ELSE 0 END)
            * 0.00000001 ORDER BY g.n),
        array_agg(g.base = g.quote OR g.quantity <= 0 OR g.notional <= 0 OR g.buyer_fee < 0 OR g.seller_fee < 0
            OR g.buyer_fee_asset NOT IN (g.base, g.quote) OR g.seller_fee_asset NOT IN (g.base, g.quote)
            OR (g.buyer_fee_asset = g.base AND g.buyer_fee > g.quantity)
            OR (g.seller_fee_asset = g.quote AND g.seller_fee > g.notional) ORDER BY g.n),
        array_agg(g.twin ORDER BY g.n), array_agg(g.known ORDER BY g.n)
    INTO quantities, notionals, buyer_fees, seller_fees, buyer_needs, seller_needs, invalid, twin_of, known
    FROM (
        SELECT i.*, min(i.n) OVER (PARTITION BY i.trade_id)::INTEGER AS twin, e.found IS NOT NULL AS known
        FROM unnest(p_trades, p_bases, p_quotes, p_quantities, p_notionals, p_buyer_fees, p_seller_fees,
            p_buyer_fee_assets, p_seller_fee_assets) WITH ORDINALITY
            AS i(trade_id, base, quote, quantity, notional, buyer_fee, seller_fee, buyer_fee_asset, seller_fee_asset, n)
        LEFT JOIN LATERAL (
            SELECT TRUE AS found FROM wallet.ledger_entries x WHERE x.operation_id = i.trade_id AND x.line = 1 OFFSET 0
        ) e ON TRUE
    ) g;
    IF TRUE = ANY (known) THEN
        SELECT array_agg(x.same ORDER BY x.n), array_agg(x.available ORDER BY x.n), array_agg(x.reserved ORDER BY x.n)
        INTO same, a_out, r_out
        FROM wallet.settled_before(p_trades, p_buyers, p_sellers, p_bases, p_quotes, p_quantities, p_notionals,
            p_buyer_fees, p_seller_fees, p_buyer_fee_assets, p_seller_fee_assets) x;
    END IF;

    FOR n IN 1..size LOOP
        t := done_by[twin_of[n]];
        rb := reservation.number_of[n];
        rs := reservation.number_of[size + n];
        IF t IS NOT NULL THEN
            known[n] := TRUE;
            same[n] := (p_buyers[t], p_sellers[t], p_bases[t], p_quotes[t], p_quantities[t], p_notionals[t],
                p_buyer_fees[t], p_seller_fees[t], p_buyer_fee_assets[t], p_seller_fee_assets[t])
                = (p_buyers[n], p_sellers[n], p_bases[n], p_quotes[n], p_quantities[n], p_notionals[n],
                p_buyer_fees[n], p_seller_fees[n], p_buyer_fee_assets[n], p_seller_fee_assets[n]);
            a_out[n] := a_out[t];
            r_out[n] := r_out[t];
        END IF;
        IF invalid[n] THEN
            codes[n] := 'INVALID_AMOUNT';
        ELSIF known[n] THEN
            codes[n] := CASE WHEN same[n] THEN 'OK' ELSE 'IDEMPOTENCY_CONFLICT' END;
        ELSIF r_remaining[rb] = 0 OR reservation.users[rb] <> p_buyers[n] OR reservation.assets[rb] <> p_quotes[n]
                OR r_remaining[rs] = 0 OR reservation.users[rs] <> p_sellers[n]
                OR reservation.assets[rs] <> p_bases[n] THEN
            codes[n] := 'RESERVATION_NOT_FOUND';
        ELSIF r_remaining[rb] < buyer_needs[n] OR r_remaining[rs] < seller_needs[n] THEN
            codes[n] := 'INSUFFICIENT_BALANCE';
        ELSE
            codes[n] := 'OK';
            fresh[n] := TRUE;
            done_by[twin_of[n]] := n;
            r_remaining[rb] := r_remaining[rb] - buyer_needs[n];
            r_remaining[rs] := r_remaining[rs] - seller_needs[n];
            r_moved[rb] := TRUE; r_moved[rs] := TRUE;
            bq := balance.number_of[n]; bb := balance.number_of[size + n];
            sb := balance.number_of[2 * size + n]; sq := balance.number_of[3 * size + n];
            bf := balance.number_of[4 * size + n]; sf := balance.number_of[5 * size + n];
            w_moved[bq] := TRUE; w_moved[bb] := TRUE; w_moved[sb] := TRUE; w_moved[sq] := TRUE;
            k := 8 * (n - 1);
            r[bq] := r[bq] - notionals[n];
            a_after[k + 1] := a[bq]; r_after[k + 1] := r[bq];
            a[bb] := a[bb] + quantities[n];
            a_after[k + 2] := a[bb]; r_after[k + 2] := r[bb];
            r[sb] := r[sb] - quantities[n];
            a_after[k + 3] := a[sb]; r_after[k + 3] := r[sb];
            a[sq] := a[sq] + notionals[n];
            a_after[k + 4] := a[sq]; r_after[k + 4] := r[sq];
            IF p_buyer_fees[n] > 0 THEN
                IF p_buyer_fee_assets[n] = p_quotes[n] THEN
                    w := bq; r[w] := r[w] - buyer_fees[n];
                ELSE
                    w := bb; a[w] := a[w] - buyer_fees[n];
                END IF;
                a_after[k + 5] := a[w]; r_after[k + 5] := r[w];
            END IF;
            IF p_seller_fees[n] > 0 THEN
                IF p_seller_fee_assets[n] = p_bases[n] THEN
                    w := sb; r[w] := r[w] - seller_fees[n];
                ELSE
                    w := sq; a[w] := a[w] - seller_fees[n];
                END IF;
                a_after[k + 6] := a[w]; r_after[k + 6] := r[w];
            END IF;
            IF p_buyer_fees[n] > 0 OR (bf = sf AND p_seller_fees[n] > 0) THEN
                a[bf] := a[bf] + buyer_fees[n] + CASE WHEN bf = sf THEN seller_fees[n] ELSE 0 END;
                a_after[k + 7] := a[bf]; r_after[k + 7] := r[bf]; w_moved[bf] := TRUE;
            END IF;
            IF bf <> sf AND p_seller_fees[n] > 0 THEN
                a[sf] := a[sf] + seller_fees[n];
                a_after[k + 8] := a[sf]; r_after[k + 8] := r[sf]; w_moved[sf] := TRUE;
            END IF;
            a_out[n] := a[bb];
            r_out[n] := r[bb];
        END IF;
    END LOOP;

    IF TRUE = ANY (fresh) THEN
        INSERT INTO wallet.ledger_entries (operation_id, line, type, user_id, asset, available_delta, reserved_delta,
            available_after, reserved_after, reference_id, description)
        SELECT i.trade_id, v.line, v.type::wallet.ledger_entry_type_enum, v.user_id, v.asset, v.available_delta,
            v.reserved_delta, a_after[8 * (i.n - 1) + v.line], r_after[8 * (i.n - 1) + v.line], i.trade_id,
            i.base || '/' || i.quote || ' at ' || trim_scale(i.price * 0.00000001)
        FROM unnest(p_trades, p_buyers, p_sellers, p_bases, p_quotes, quantities, notionals, p_prices, buyer_fees,
            seller_fees, p_buyer_fee_assets, p_seller_fee_assets, fresh) WITH ORDINALITY
            AS i(trade_id, buyer, seller, base, quote, quantity, notional, price, buyer_fee, seller_fee,
                buyer_fee_asset, seller_fee_asset, fresh, n)
        CROSS JOIN LATERAL (VALUES
            (1, 'TRADE_BUY', i.buyer, i.quote, 0, -i.notional),
            (2, 'TRADE_BUY', i.buyer, i.base, i.quantity, 0),
            (3, 'TRADE_SELL', i.seller, i.base, 0, -i.quantity),
            (4, 'TRADE_SELL', i.seller, i.quote, i.notional, 0),
            (5, 'FEE', i.buyer, i.buyer_fee_asset, CASE WHEN i.buyer_fee_asset = i.base THEN -i.buyer_fee ELSE 0 END,
                CASE WHEN i.buyer_fee_asset = i.quote THEN -i.buyer_fee ELSE 0 END),
            (6, 'FEE', i.seller, i.seller_fee_asset,
                CASE WHEN i.seller_fee_asset = i.quote THEN -i.seller_fee ELSE 0 END,
                CASE WHEN i.seller_fee_asset = i.base THEN -i.seller_fee ELSE 0 END),
            (7, 'FEE', p_fee_account, i.buyer_fee_asset,
                i.buyer_fee + CASE WHEN i.buyer_fee_asset = i.seller_fee_asset THEN i.seller_fee ELSE 0 END, 0),
            (8, 'FEE', p_fee_account, i.seller_fee_asset,
                CASE WHEN i.buyer_fee_asset = i.seller_fee_asset THEN 0 ELSE i.seller_fee END, 0)
        ) AS v(line, type, user_id, asset, available_delta, reserved_delta)
        WHERE i.fresh AND (v.available_delta <> 0 OR v.reserved_delta <> 0)
        ORDER BY i.n, v.line;
        PERFORM wallet.write_balances(balance.users, balance.assets, a, r, w_moved);
        PERFORM wallet.write_reservations(0, reservation.orders, reservation.users, reservation.users,
            reservation.assets, r_remaining, reservation.closed, r_moved);
    END IF;
    IF opened.made_users IS NOT NULL AND FALSE = ANY (fresh) THEN
        PERFORM wallet.drop_unused_balances(opened.made_users, opened.made_assets, balance.users, balance.assets,
            w_moved);
    END IF;
    RETURN QUERY
    SELECT i.code, CASE WHEN i.code = 'OK' THEN i.a * 100000000 ELSE 0 END,
        CASE WHEN i.code = 'OK' THEN i.r * 100000000 ELSE 0 END
    FROM unnest(codes, a_out, r_out) WITH ORDINALITY AS i(code, a, r, n) ORDER BY i.n;
END $$;

-- The balances that trades pay into, opened where both sides have something reserved.  Comes before the locks: a
-- transaction waits for another's new balance only while it holds no lock, so the two never wait for each other.
CREATE FUNCTION wallet.open_settled_balances(
    p_buyers UUID[], p_sellers UUID[], p_bases TEXT[], p_quotes TEXT[], p_buyer_fees BIGINT[], p_seller_fees BIGINT[],
    p_buyer_fee_assets TEXT[], p_seller_fee_assets TEXT[], p_buyer_orders UUID[], p_seller_orders UUID[],
    p_fee_account UUID, OUT made_users UUID[], OUT made_assets TEXT[]
) LANGUAGE plpgsql SET enable_seqscan = off SET jit = off AS $$
BEGIN
    WITH missing AS MATERIALIZED (
        SELECT v.user_id, v.asset, i.buyer_order, i.seller_order
        FROM unnest(p_buyers, p_sellers, p_bases, p_quotes, p_buyer_fees, p_seller_fees, p_buyer_fee_assets,
            p_seller_fee_assets, p_buyer_orders, p_seller_orders)
            AS i(buyer, seller, base, quote, buyer_fee, seller_fee, buyer_asset, seller_asset, buyer_order,
                seller_order)
        CROSS JOIN LATERAL (VALUES
            (i.buyer, i.base, TRUE), (i.seller, i.quote, TRUE), (p_fee_account, i.buyer_asset, i.buyer_fee > 0),
            (p_fee_account, i.seller_asset, i.seller_fee > 0)
        ) AS v(user_id, asset, needed)
        LEFT JOIN LATERAL (
            SELECT TRUE AS found FROM wallet.balances x WHERE x.user_id = v.user_id AND x.asset = v.asset OFFSET 0
        ) b ON TRUE
        WHERE v.needed AND b.found IS NULL
    ), made AS (
        INSERT INTO wallet.balances (user_id, asset)
        SELECT DISTINCT m.user_id, m.asset COLLATE "C"
        FROM missing m
        WHERE EXISTS (SELECT FROM wallet.reservations h WHERE h.order_id = m.buyer_order)
            AND EXISTS (SELECT FROM wallet.reservations h WHERE h.order_id = m.seller_order)
        ORDER BY 1, 2
        ON CONFLICT DO NOTHING
        RETURNING user_id, asset
    )
    SELECT array_agg(m.user_id), array_agg(m.asset) INTO made_users, made_assets FROM made m;
END $$;

-- Trades that were settled before: whether they were the same ones, and the buyer's base balance after each, by n.
CREATE FUNCTION wallet.settled_before(
    p_trades UUID[], p_buyers UUID[], p_sellers UUID[], p_bases TEXT[], p_quotes TEXT[], p_quantities BIGINT[],
    p_notionals BIGINT[], p_buyer_fees BIGINT[], p_seller_fees BIGINT[], p_buyer_fee_assets TEXT[],
    p_seller_fee_assets TEXT[]
) RETURNS TABLE (n BIGINT, same BOOLEAN, available NUMERIC, reserved NUMERIC)
LANGUAGE plpgsql SET enable_seqscan = off SET jit = off AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY
    SELECT i.n,
        count(*) = 4 + (i.buyer_fee > 0)::INTEGER + (i.seller_fee > 0)::INTEGER AND bool_and(
            CASE x.line
                WHEN 1 THEN (x.user_id, x.asset, x.reserved_delta) = (i.buyer, i.quote, -i.notional * 0.00000001)
                WHEN 2 THEN (x.user_id, x.asset, x.available_delta) = (i.buyer, i.base, i.quantity * 0.00000001)
                WHEN 3 THEN (x.user_id, x.asset, x.reserved_delta) = (i.seller, i.base, -i.quantity * 0.00000001)
                WHEN 4 THEN (x.user_id, x.asset, x.available_delta) = (i.seller, i.quote, i.notional * 0.00000001)
                WHEN 5 THEN (x.user_id, x.asset, x.available_delta + x.reserved_delta)
                    = (i.buyer, i.buyer_asset, -i.buyer_fee * 0.00000001)
                ELSE (x.user_id, x.asset, x.available_delta + x.reserved_delta)
                    = (i.seller, i.seller_asset, -i.seller_fee * 0.00000001)
            END),
        (array_agg(x.available_after ORDER BY x.line DESC) FILTER (WHERE x.user_id = i.buyer AND x.asset = i.base))[1],
        (array_agg(x.reserved_after ORDER BY x.line DESC) FILTER (WHERE x.user_id = i.buyer AND x.asset = i.base))[1]
    FROM unnest(p_trades, p_buyers, p_sellers, p_bases, p_quotes, p_quantities, p_notionals, p_buyer_fees,
        p_seller_fees, p_buyer_fee_assets, p_seller_fee_assets) WITH ORDINALITY
        AS i(trade_id, buyer, seller, base, quote, quantity, notional, buyer_fee, seller_fee, buyer_asset,
            seller_asset, n)
    LEFT JOIN LATERAL (
        SELECT e.* FROM wallet.ledger_entries e WHERE e.operation_id = i.trade_id AND e.line BETWEEN 1 AND 6 OFFSET 0
    ) x ON TRUE
    GROUP BY i.n, i.buyer, i.base, i.buyer_fee, i.seller_fee;
END $$;
