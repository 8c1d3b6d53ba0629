-- What the journal did not hold, chained: facts of each batch; markets' terms, the audit and repairs; deposits and
-- withdrawals.  `trade-engine verify` compares all of it with the tables (docs/developer/journal.md).

ALTER TABLE journal ADD COLUMN facts BYTEA;
COMMENT ON COLUMN journal.facts IS 'what the commands do not say (sequencer/facts.py); NULL: of a version before 0.2';

ALTER TABLE engine_state ADD COLUMN facts_since BIGINT NOT NULL DEFAULT 1;
COMMENT ON COLUMN engine_state.facts_since IS 'every batch from this sequence on has facts, which say so, too';
UPDATE engine_state SET facts_since = sequence + 1;

-- SHA-256 over the hash before and fields, each with its length in bytes: no two lists of fields look alike.
CREATE FUNCTION chain_hash(previous BYTEA, fields TEXT[]) RETURNS BYTEA LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT sha256(previous || convert_to(
        string_agg(coalesce(octet_length(convert_to(f.field, 'UTF8')) || ':' || f.field, '-'), ',' ORDER BY f.n), 'UTF8'))
    FROM unnest(fields) WITH ORDINALITY AS f (field, n)
$$;

CREATE FUNCTION microseconds(at TIMESTAMPTZ) RETURNS BIGINT LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT (extract(epoch FROM at) * 1000000)::BIGINT
$$;

-- One row a fact, each chain by itself, in the transaction that made it true.
CREATE TABLE chained_facts (
    chain TEXT NOT NULL,
    number BIGINT NOT NULL,
    noted_at TIMESTAMPTZ NOT NULL,
    fields TEXT[] NOT NULL,
    hash BYTEA NOT NULL,
    PRIMARY KEY (chain, number)
);
COMMENT ON TABLE chained_facts IS 'start: of the facts; markets: their terms; audit: its rows; repairs: releases by repair';
-- Where each chain ends; whoever appends locks its row.
CREATE TABLE chain_heads (
    chain TEXT PRIMARY KEY,
    number BIGINT NOT NULL DEFAULT 0,
    hash BYTEA NOT NULL DEFAULT '\x'
);
INSERT INTO chain_heads (chain) VALUES ('start'), ('markets'), ('audit'), ('repairs');

CREATE FUNCTION note_fact(p_chain TEXT, p_fields TEXT[]) RETURNS BIGINT LANGUAGE plpgsql AS $$
DECLARE
    head chain_heads;
    next_hash BYTEA;
BEGIN
    SELECT * INTO STRICT head FROM chain_heads WHERE chain = p_chain FOR UPDATE;
    next_hash := chain_hash(head.hash, ARRAY[p_chain, (head.number + 1)::TEXT, microseconds(now())::TEXT] || p_fields);
    INSERT INTO chained_facts (chain, number, noted_at, fields, hash)
    VALUES (p_chain, head.number + 1, now(), p_fields, next_hash);
    UPDATE chain_heads SET number = head.number + 1, hash = next_hash WHERE chain = p_chain;
    RETURN head.number + 1;
END $$;

CREATE FUNCTION refuse_fact_change() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '%: rows are append-only, % is refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON chained_facts
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_fact_change();

-- Where facts begin: journal and ledger up to here are as versions before 0.2 left them.
SELECT note_fact('start', ARRAY[
    s.sequence::TEXT, encode(s.journal_hash, 'hex'), s.instruction_id::TEXT, s.trade_sequence::TEXT,
    coalesce((SELECT max(entry_id) FROM wallet.ledger_entries), 0)::TEXT])
FROM engine_state s;

-- A market's terms, but for those that the core knows and the journal holds.
CREATE FUNCTION market_terms(m markets) RETURNS TEXT[] LANGUAGE sql STABLE AS $$
    SELECT ARRAY[m.market_id::TEXT, m.symbol, m.base, m.quote, trim_scale(m.tick_size)::TEXT,
        trim_scale(m.lot_size)::TEXT, trim_scale(m.min_quantity)::TEXT, trim_scale(m.max_quantity)::TEXT,
        trim_scale(m.min_notional)::TEXT, trim_scale(m.maker_fee)::TEXT, trim_scale(m.taker_fee)::TEXT,
        m.fee_asset::TEXT, m.managed::TEXT, m.min_display_ppm::TEXT]
$$;
CREATE INDEX chained_facts_of_markets ON chained_facts ((fields[1]), number) WHERE chain = 'markets';

-- Notes a market's terms if they are not those noted last; to be called by whoever writes them.
CREATE FUNCTION note_market(m markets) RETURNS VOID LANGUAGE plpgsql AS $$
DECLARE
    last TEXT[];
BEGIN
    SELECT f.fields INTO last FROM chained_facts f WHERE f.chain = 'markets' AND f.fields[1] = m.market_id::TEXT
    ORDER BY f.number DESC LIMIT 1;
    IF last IS DISTINCT FROM market_terms(m) THEN
        PERFORM note_fact('markets', market_terms(m));
    END IF;
END $$;

SELECT note_market(m) FROM markets m ORDER BY market_id;

-- The audit: every row is chained as it is written.
CREATE FUNCTION note_audit() RETURNS TRIGGER LANGUAGE plpgsql AS $$
BEGIN
    PERFORM note_fact('audit', ARRAY[NEW.audit_id::TEXT, microseconds(NEW.done_at)::TEXT, NEW.actor, NEW.action,
        NEW.subject, NEW.reason, NEW.outcome]);
    RETURN NULL;
END $$;
CREATE TRIGGER chained AFTER INSERT ON admin_audit FOR EACH ROW EXECUTE FUNCTION note_audit();

SELECT note_fact('audit', ARRAY[audit_id::TEXT, microseconds(done_at)::TEXT, actor, action, subject, reason, outcome])
FROM (SELECT * FROM admin_audit ORDER BY audit_id) a;

-- The wallet's own chain: every deposit and withdrawal.
CREATE TABLE wallet.funding (
    number BIGINT PRIMARY KEY,
    operation_id UUID NOT NULL,
    type wallet.ledger_entry_type_enum NOT NULL CHECK (type IN ('DEPOSIT', 'WITHDRAWAL')),
    user_id UUID NOT NULL,
    asset TEXT COLLATE "C" NOT NULL,
    amount NUMERIC(38, 8) NOT NULL,
    entry_id BIGINT NOT NULL,
    funded_at TIMESTAMPTZ NOT NULL,
    hash BYTEA NOT NULL,
    UNIQUE (operation_id, type)
);
COMMENT ON COLUMN wallet.funding.amount IS 'what the user''s available balance changed by: below 0 for a withdrawal';
CREATE TABLE wallet.funding_head (
    id SMALLINT PRIMARY KEY DEFAULT 1 CHECK (id = 1),
    number BIGINT NOT NULL DEFAULT 0,
    hash BYTEA NOT NULL DEFAULT '\x'
);
INSERT INTO wallet.funding_head DEFAULT VALUES;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON wallet.funding
    FOR EACH STATEMENT EXECUTE FUNCTION wallet.refuse_change();

-- Chains those of these operations that the ledger has and the chain has not.
CREATE FUNCTION wallet.note_funding(p_operations UUID[]) RETURNS VOID
LANGUAGE plpgsql SET enable_seqscan = off SET jit = off AS $$
DECLARE
    head wallet.funding_head;
    e RECORD;
BEGIN
    SELECT * INTO STRICT head FROM wallet.funding_head FOR UPDATE;
    FOR e IN
        SELECT x.* FROM (SELECT DISTINCT o FROM unnest(p_operations) AS u(o)) i
        CROSS JOIN LATERAL (
            SELECT l.* FROM wallet.ledger_entries l WHERE l.operation_id = i.o AND l.line IN (13, 15) OFFSET 0
        ) x
        WHERE NOT EXISTS (SELECT FROM wallet.funding f WHERE f.operation_id = x.operation_id AND f.type = x.type)
        ORDER BY x.entry_id
    LOOP
        head.number := head.number + 1;
        head.hash := chain_hash(head.hash, ARRAY[head.number::TEXT, e.operation_id::TEXT, e.type::TEXT,
            e.user_id::TEXT, e.asset, trim_scale(e.available_delta)::TEXT, e.entry_id::TEXT,
            microseconds(e.created_at)::TEXT]);
        INSERT INTO wallet.funding (number, operation_id, type, user_id, asset, amount, entry_id, funded_at, hash)
        VALUES (head.number, e.operation_id, e.type, e.user_id, e.asset, e.available_delta, e.entry_id, e.created_at,
            head.hash);
    END LOOP;
    UPDATE wallet.funding_head SET number = head.number, hash = head.hash;
END $$;

ALTER FUNCTION wallet.fund_many(TEXT[], UUID[], TEXT[], BIGINT[], UUID[], TEXT[]) RENAME TO fund_unchained;
CREATE FUNCTION wallet.fund_many(
    p_types TEXT[], p_users UUID[], p_assets TEXT[], p_amounts BIGINT[], p_operations UUID[], p_reasons TEXT[]
) RETURNS TABLE (code TEXT, available NUMERIC, reserved NUMERIC) LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY SELECT * FROM wallet.fund_unchained(p_types, p_users, p_assets, p_amounts, p_operations, p_reasons);
    PERFORM wallet.note_funding(p_operations);
END $$;

-- Those that versions before 0.2 carried out.
SELECT wallet.note_funding(array_agg(operation_id)) FROM wallet.ledger_entries WHERE line IN (13, 15)
HAVING count(*) > 0;
