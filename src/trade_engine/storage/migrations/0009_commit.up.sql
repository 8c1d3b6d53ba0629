-- The writer's commit as of version 0.2 (it was 0005's): one call, one transaction, fenced by epoch and sequence.
-- It is a heartbeat of the writer, too (0013_lease).
-- Amounts come as whole units of 1e-8 and times as microseconds since 1970; 0 stands for "none" where NULL is allowed.

ALTER TABLE engine_state ADD COLUMN heartbeat_at TIMESTAMPTZ;

DO $$ BEGIN EXECUTE 'DROP FUNCTION ' || 'commit_batch'::REGPROC::OID::REGPROCEDURE; END $$;

CREATE FUNCTION commit_batch(
    p_epoch BIGINT, p_previous_sequence BIGINT, p_first_sequence BIGINT, p_sequence BIGINT, p_trade_sequence BIGINT,
    p_instruction_id BIGINT, p_clock_us BIGINT, p_previous_hash BYTEA, p_hash BYTEA, p_state_hash BYTEA,
    p_commands BYTEA, p_events BYTEA, p_facts BYTEA,
    -- orders, new and changed ones
    o_is_new BOOLEAN[], o_order_id UUID[], o_sequence BIGINT[], o_user_id UUID[], o_market_id INTEGER[],
    o_side side_enum[], o_type order_type_enum[], o_time_in_force time_in_force_enum[],
    o_stp self_trade_prevention_enum[], o_flags SMALLINT[], o_status order_status_enum[], o_reason TEXT[],
    o_client_order_id TEXT[], o_institution_id TEXT[], o_price BIGINT[], o_quantity BIGINT[], o_stop_price BIGINT[],
    o_display BIGINT[], o_max_notional BIGINT[], o_filled BIGINT[], o_filled_notional BIGINT[],
    o_cancelled BIGINT[], o_priority BIGINT[], o_display_remaining BIGINT[], o_linked BIGINT[], o_maker_fee BIGINT[],
    o_taker_fee BIGINT[], o_fee_asset fee_asset_enum[], o_maker_basis BIGINT[], o_taker_basis BIGINT[],
    o_fee_charged BIGINT[], o_reserved BIGINT[], o_hold BIGINT[], o_expires_us BIGINT[], o_created_us BIGINT[],
    o_updated_us BIGINT[], o_filled_us BIGINT[], o_cancelled_us BIGINT[],
    -- trades
    t_trade_id UUID[], t_sequence BIGINT[], t_market_id INTEGER[], t_price BIGINT[], t_quantity BIGINT[],
    t_notional BIGINT[], t_buyer_order_id UUID[], t_seller_order_id UUID[], t_buyer_user_id UUID[],
    t_seller_user_id UUID[], t_buyer_fee BIGINT[], t_seller_fee BIGINT[], t_buyer_fee_asset TEXT[],
    t_seller_fee_asset TEXT[], t_is_buyer_maker BOOLEAN[], t_executed_us BIGINT[],
    -- wallet instructions
    i_instruction_id BIGINT[], i_kind instruction_kind_enum[], i_trade_id UUID[], i_order_id UUID[],
    i_user_id UUID[], i_asset TEXT[], i_amount BIGINT[], i_reason TEXT[],
    -- markets
    m_market_id INTEGER[], m_state market_state_enum[], m_last_price BIGINT[], m_event_sequence BIGINT[],
    m_priority BIGINT[], m_price_band BIGINT[], m_max_slippage BIGINT[], m_min_notional BIGINT[],
    m_max_open_orders BIGINT[], m_max_fills BIGINT[], m_rule_flags BIGINT[], m_reached_high BIGINT[],
    m_reached_low BIGINT[], m_next_high BIGINT[], m_next_low BIGINT[]
) RETURNS VOID LANGUAGE plpgsql
-- Planned once, and by index only: a plan made while the tables were small must not scan them when they are large.
SET plan_cache_mode = force_generic_plan SET enable_seqscan = off SET enable_bitmapscan = off
SET enable_hashjoin = off SET enable_mergejoin = off SET jit = off AS $$
DECLARE
    unit CONSTANT NUMERIC := 0.00000001;
    stamped TIMESTAMPTZ := at_us(p_clock_us);
    touched UUID[];
    changed INTEGER;
BEGIN
    UPDATE engine_state SET
        sequence = p_sequence, trade_sequence = p_trade_sequence, instruction_id = p_instruction_id,
        clock_us = p_clock_us, journal_hash = p_hash, state_hash = p_state_hash, heartbeat_at = clock_timestamp()
    WHERE id = 1 AND sequence = p_previous_sequence AND epoch = p_epoch;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'fenced: another writer took over from epoch %', p_epoch USING ERRCODE = 'TE001';
    END IF;

    INSERT INTO journal (last_sequence, first_sequence, stamped_at, epoch, previous_hash, hash, state_hash,
                         commands, events, facts)
    VALUES (p_sequence, p_first_sequence, stamped, p_epoch, p_previous_hash, p_hash, p_state_hash,
            p_commands, p_events, p_facts);

    INSERT INTO orders (
        order_id, sequence, user_id, market_id, side, type, time_in_force, self_trade_prevention, flags, status,
        is_open, reason, client_order_id, institution_id, price, quantity, stop_price, display_quantity,
        max_notional, filled_quantity, filled_notional, cancelled_quantity, priority_sequence, display_remaining,
        linked_sequence, maker_fee, taker_fee, fee_asset, maker_basis, taker_basis, fee_charged, reserved, hold,
        expires_at, created_at, updated_at, filled_at, cancelled_at)
    SELECT
        o.order_id, o.sequence, o.user_id, o.market_id, o.side, o.type, o.tif, o.stp, o.flags, o.status,
        o.status IN ('PENDING', 'OPEN', 'PARTIALLY_FILLED'), o.reason, o.client_order_id, o.institution_id,
        nullif(o.price, 0) * unit, o.quantity * unit, nullif(o.stop_price, 0) * unit, nullif(o.display, 0) * unit,
        o.max_notional * unit, o.filled * unit, o.filled_notional * unit, o.cancelled * unit, o.priority,
        o.display_remaining * unit, o.linked, o.maker_fee * unit, o.taker_fee * unit, o.fee_asset,
        o.maker_basis * unit, o.taker_basis * unit, o.fee_charged * unit, o.reserved * unit, o.hold * unit,
        at_us(o.expires), at_us(o.created), at_us(o.updated), at_us(o.filled_us), at_us(o.cancelled_us)
    FROM unnest(
        o_is_new, o_order_id, o_sequence, o_user_id, o_market_id, o_side, o_type, o_time_in_force, o_stp, o_flags,
        o_status, o_reason, o_client_order_id, o_institution_id, o_price, o_quantity, o_stop_price, o_display,
        o_max_notional, o_filled, o_filled_notional, o_cancelled, o_priority, o_display_remaining, o_linked,
        o_maker_fee, o_taker_fee, o_fee_asset, o_maker_basis, o_taker_basis, o_fee_charged, o_reserved, o_hold,
        o_expires_us, o_created_us, o_updated_us, o_filled_us, o_cancelled_us
    ) AS o (is_new, order_id, sequence, user_id, market_id, side, type, tif, stp, flags, status, reason,
            client_order_id, institution_id, price, quantity, stop_price, display, max_notional, filled,
            filled_notional, cancelled, priority, display_remaining, linked, maker_fee, taker_fee, fee_asset,
            maker_basis, taker_basis, fee_charged, reserved, hold, expires, created, updated, filled_us, cancelled_us)
    WHERE o.is_new;

    INSERT INTO client_orders (user_id, client_order_id, order_id)
    SELECT o.user_id, o.client_order_id, o.order_id
    FROM unnest(o_is_new, o_user_id, o_client_order_id, o_order_id) AS o (is_new, user_id, client_order_id, order_id)
    WHERE o.is_new AND o.client_order_id IS NOT NULL;

    SELECT array_agg(o.order_id) INTO touched
    FROM unnest(o_is_new, o_order_id) AS o (is_new, order_id) WHERE NOT o.is_new;
    IF touched IS NOT NULL THEN
        UPDATE orders SET
            status = o.status, is_open = o.status IN ('PENDING', 'OPEN', 'PARTIALLY_FILLED'), reason = o.reason,
            price = nullif(o.price, 0) * unit, quantity = o.quantity * unit,
            stop_price = nullif(o.stop_price, 0) * unit, max_notional = o.max_notional * unit,
            filled_quantity = o.filled * unit, filled_notional = o.filled_notional * unit,
            cancelled_quantity = o.cancelled * unit, priority_sequence = o.priority,
            display_remaining = o.display_remaining * unit, linked_sequence = o.linked,
            maker_basis = o.maker_basis * unit, taker_basis = o.taker_basis * unit,
            fee_charged = o.fee_charged * unit, reserved = o.reserved * unit, hold = o.hold * unit,
            updated_at = at_us(o.updated), filled_at = at_us(o.filled_us), cancelled_at = at_us(o.cancelled_us)
        FROM unnest(
            o_is_new, o_order_id, o_status, o_reason, o_price, o_quantity, o_stop_price, o_max_notional, o_filled,
            o_filled_notional, o_cancelled, o_priority, o_display_remaining, o_linked, o_maker_basis, o_taker_basis,
            o_fee_charged, o_reserved, o_hold, o_updated_us, o_filled_us, o_cancelled_us
        ) AS o (is_new, order_id, status, reason, price, quantity, stop_price, max_notional, filled,
                filled_notional, cancelled, priority, display_remaining, linked, maker_basis, taker_basis,
                fee_charged, reserved, hold, updated, filled_us, cancelled_us)
        -- The array prunes partitions and finds rows by primary key; the join alone would scan what lies between.
        WHERE orders.order_id = ANY (touched) AND orders.order_id = o.order_id AND NOT o.is_new AND orders.is_open;
        GET DIAGNOSTICS changed = ROW_COUNT;
        IF changed <> cardinality(touched) THEN
            RAISE EXCEPTION 'commit: % open orders expected, % found', cardinality(touched), changed
                USING ERRCODE = 'TE002';
        END IF;
    END IF;

    INSERT INTO trades (
        trade_id, sequence, market_id, price, quantity, notional, buyer_order_id, seller_order_id, buyer_user_id,
        seller_user_id, buyer_fee, seller_fee, buyer_fee_asset, seller_fee_asset, is_buyer_maker, executed_at)
    SELECT
        t.trade_id, t.sequence, t.market_id, t.price * unit, t.quantity * unit, t.notional * unit, t.buyer_order_id,
        t.seller_order_id, t.buyer_user_id, t.seller_user_id, t.buyer_fee * unit, t.seller_fee * unit,
        t.buyer_fee_asset, t.seller_fee_asset, t.is_buyer_maker, at_us(t.executed_us)
    FROM unnest(
        t_trade_id, t_sequence, t_market_id, t_price, t_quantity, t_notional, t_buyer_order_id, t_seller_order_id,
        t_buyer_user_id, t_seller_user_id, t_buyer_fee, t_seller_fee, t_buyer_fee_asset, t_seller_fee_asset,
        t_is_buyer_maker, t_executed_us
    ) AS t (trade_id, sequence, market_id, price, quantity, notional, buyer_order_id, seller_order_id,
            buyer_user_id, seller_user_id, buyer_fee, seller_fee, buyer_fee_asset, seller_fee_asset,
            is_buyer_maker, executed_us);

    INSERT INTO settlement_instructions (
        instruction_id, kind, trade_id, order_id, user_id, asset, amount, reason, created_at)
    SELECT i.instruction_id, i.kind, i.trade_id, i.order_id, i.user_id, i.asset, i.amount * unit, i.reason, stamped
    FROM unnest(i_instruction_id, i_kind, i_trade_id, i_order_id, i_user_id, i_asset, i_amount, i_reason)
      AS i (instruction_id, kind, trade_id, order_id, user_id, asset, amount, reason);

    UPDATE markets SET
        state = m.state, last_price = m.last_price * unit, event_sequence = m.event_sequence,
        priority_sequence = m.priority, price_band_ppm = m.price_band, max_slippage_ppm = m.max_slippage,
        min_notional_ticks = m.min_notional, max_open_orders = m.max_open_orders, max_fills = m.max_fills,
        rule_flags = m.rule_flags, reached_high_ticks = m.reached_high, reached_low_ticks = m.reached_low,
        next_high_ticks = m.next_high, next_low_ticks = m.next_low
    FROM unnest(m_market_id, m_state, m_last_price, m_event_sequence, m_priority, m_price_band, m_max_slippage,
                m_min_notional, m_max_open_orders, m_max_fills, m_rule_flags, m_reached_high, m_reached_low,
                m_next_high, m_next_low)
      AS m (market_id, state, last_price, event_sequence, priority, price_band, max_slippage, min_notional,
            max_open_orders, max_fills, rule_flags, reached_high, reached_low, next_high, next_low)
    WHERE markets.market_id = m.market_id;
END $$;
