DROP FUNCTION wallet.fund_many(TEXT[], UUID[], TEXT[], BIGINT[], UUID[], TEXT[]);
ALTER FUNCTION wallet.fund_unchained(TEXT[], UUID[], TEXT[], BIGINT[], UUID[], TEXT[]) RENAME TO fund_many;
DROP FUNCTION wallet.note_funding(UUID[]);
DROP TABLE wallet.funding, wallet.funding_head;
DROP FUNCTION microseconds(TIMESTAMPTZ);
DROP FUNCTION chain_hash(BYTEA, TEXT[]);
