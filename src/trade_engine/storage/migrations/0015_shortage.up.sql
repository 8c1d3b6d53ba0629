-- A reserve that the balance does not cover says what there is (the function was 0003's).

CREATE OR REPLACE FUNCTION wallet.reserve_many(
    p_epoch BIGINT, p_users UUID[], p_assets TEXT[], p_amounts BIGINT[], p_orders UUID[], p_operations UUID[],
    p_reasons TEXT[]
) RETURNS TABLE (code TEXT, available NUMERIC, reserved NUMERIC)
LANGUAGE plpgsql SET enable_seqscan = off SET jit = off AS $$
#variable_conflict use_column
DECLARE
    size CONSTANT INTEGER := cardinality(p_operations);
    balance RECORD;
    reservation RECORD;
    w_available NUMERIC[]; w_reserved NUMERIC[]; w_moved BOOLEAN[];
    r_user UUID[]; r_asset TEXT[]; r_remaining NUMERIC[]; r_moved BOOLEAN[];
    amounts NUMERIC[];
    twin_of INTEGER[];
    done_by INTEGER[];
    same BOOLEAN[];
    codes TEXT[] := array_fill(NULL::TEXT, ARRAY[size]);
    fresh BOOLEAN[] := array_fill(FALSE, ARRAY[size]);
    a_after NUMERIC[];
    r_after NUMERIC[];
    w INTEGER; r INTEGER; t INTEGER;
BEGIN
    IF NOT wallet.pass_fence(p_epoch) THEN
        RETURN QUERY SELECT 'STALE_EPOCH', 0::NUMERIC, 0::NUMERIC FROM generate_series(1, size);
        RETURN;
    END IF;
    IF size = 0 THEN
        RETURN;
    END IF;
    balance := wallet.lock_balances(p_users, p_assets);
    reservation := wallet.find_reservations(p_orders);
    w_available := balance.available; w_reserved := balance.reserved;
    w_moved := array_fill(FALSE, ARRAY[cardinality(w_available)]);
    r_user := reservation.users; r_asset := reservation.assets; r_remaining := reservation.remaining;
    r_moved := array_fill(FALSE, ARRAY[cardinality(r_remaining)]);
    SELECT array_agg(g.amount ORDER BY g.n), array_agg(g.twin ORDER BY g.n), array_agg(g.same ORDER BY g.n),
        array_agg(g.available_after ORDER BY g.n), array_agg(g.reserved_after ORDER BY g.n)
    INTO amounts, twin_of, same, a_after, r_after
    FROM (
        SELECT i.n, i.amount * 0.00000001 AS amount,
            min(i.n) OVER (PARTITION BY i.operation_id)::INTEGER AS twin,
            e.user_id = i.user_id AND e.asset = i.asset AND e.reference_id = i.order_id
                AND e.reserved_delta = i.amount * 0.00000001 AS same,
            e.available_after, e.reserved_after
        FROM unnest(p_users, p_assets, p_amounts, p_orders, p_operations) WITH ORDINALITY
            AS i(user_id, asset, amount, order_id, operation_id, n)
        LEFT JOIN LATERAL (
            SELECT x.* FROM wallet.ledger_entries x WHERE x.operation_id = i.operation_id AND x.line = 11 OFFSET 0
        ) e ON TRUE
    ) g;

    FOR n IN 1..size LOOP
        w := balance.number_of[n];
        r := reservation.number_of[n];
        t := done_by[twin_of[n]];
        IF t IS NOT NULL THEN
            same[n] := p_users[t] = p_users[n] AND p_assets[t] = p_assets[n] AND p_orders[t] = p_orders[n]
                AND p_amounts[t] = p_amounts[n];
            a_after[n] := a_after[t];
            r_after[n] := r_after[t];
        END IF;
        IF amounts[n] <= 0 THEN
            codes[n] := 'INVALID_AMOUNT';
        ELSIF same[n] IS NOT NULL THEN
            codes[n] := CASE WHEN same[n] THEN 'OK' ELSE 'IDEMPOTENCY_CONFLICT' END;
        ELSIF reservation.closed[r] OR (r_remaining[r] > 0
                AND (r_user[r] <> p_users[n] OR r_asset[r] <> p_assets[n])) THEN
            codes[n] := 'IDEMPOTENCY_CONFLICT';
        ELSIF w_available[w] IS NULL
                AND NOT EXISTS (SELECT FROM wallet.balances b WHERE b.user_id = p_users[n]) THEN
            codes[n] := 'USER_NOT_FOUND';
        ELSIF w_available[w] IS NULL OR w_available[w] < amounts[n] THEN
            codes[n] := 'INSUFFICIENT_BALANCE';
            a_after[n] := coalesce(w_available[w], 0);
            r_after[n] := coalesce(w_reserved[w], 0);
        ELSE
            codes[n] := 'OK';
            fresh[n] := TRUE;
            done_by[twin_of[n]] := n;
            w_available[w] := w_available[w] - amounts[n];
            w_reserved[w] := w_reserved[w] + amounts[n];
            w_moved[w] := TRUE;
            r_user[r] := p_users[n];
            r_asset[r] := p_assets[n];
            r_remaining[r] := r_remaining[r] + amounts[n];
            r_moved[r] := TRUE;
            a_after[n] := w_available[w];
            r_after[n] := w_reserved[w];
        END IF;
    END LOOP;

    IF TRUE = ANY (fresh) THEN
        INSERT INTO wallet.ledger_entries (operation_id, line, type, user_id, asset, available_delta, reserved_delta,
            available_after, reserved_after, reference_id, description)
        SELECT i.operation_id, 11, 'RESERVE', i.user_id, i.asset, -i.amount, i.amount,
            i.available_after, i.reserved_after, i.order_id, i.reason
        FROM unnest(p_operations, p_users, p_assets, amounts, a_after, r_after, p_orders, p_reasons, fresh)
            WITH ORDINALITY AS i(operation_id, user_id, asset, amount, available_after, reserved_after, order_id,
                reason, fresh, n)
        WHERE i.fresh
        ORDER BY i.n;
        PERFORM wallet.write_balances(balance.users, balance.assets, w_available, w_reserved, w_moved);
        PERFORM wallet.write_reservations(p_epoch, reservation.orders, reservation.users, r_user, r_asset, r_remaining,
            reservation.closed, r_moved);
    END IF;
    RETURN QUERY
    SELECT i.code, CASE WHEN i.code IN ('OK', 'INSUFFICIENT_BALANCE') THEN i.a * 100000000 ELSE 0 END,
        CASE WHEN i.code IN ('OK', 'INSUFFICIENT_BALANCE') THEN i.r * 100000000 ELSE 0 END
    FROM unnest(codes, a_after, r_after) WITH ORDINALITY AS i(code, a, r, n) ORDER BY i.n;
END $$;
