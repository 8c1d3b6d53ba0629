-- Deposits and withdrawals, chained: the wallet's part of the file above of this name.

-- SHA-256 over the hash before and fields, each with its length in bytes: no two lists of fields look alike.
CREATE FUNCTION chain_hash(previous BYTEA, fields TEXT[]) RETURNS BYTEA LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT sha256(previous || convert_to(
        string_agg(coalesce(octet_length(convert_to(f.field, 'UTF8')) || ':' || f.field, '-'), ',' ORDER BY f.n), 'UTF8'))
    FROM unnest(fields) WITH ORDINALITY AS f (field, n)
$$;

CREATE FUNCTION microseconds(at TIMESTAMPTZ) RETURNS BIGINT LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT (extract(epoch FROM at) * 1000000)::BIGINT
$$;

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
