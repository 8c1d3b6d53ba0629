-- Back to a journal without facts.  Batches that have some cannot be verified without them.

DROP FUNCTION wallet.fund_many(TEXT[], UUID[], TEXT[], BIGINT[], UUID[], TEXT[]);
ALTER FUNCTION wallet.fund_unchained(TEXT[], UUID[], TEXT[], BIGINT[], UUID[], TEXT[]) RENAME TO fund_many;
DROP FUNCTION wallet.note_funding(UUID[]);
DROP TABLE wallet.funding, wallet.funding_head;
DROP TRIGGER chained ON admin_audit;
DROP FUNCTION note_audit();
DROP FUNCTION note_market(markets);
DROP INDEX chained_facts_of_markets;
DROP FUNCTION market_terms(markets);
DROP TABLE chained_facts, chain_heads;
DROP FUNCTION refuse_fact_change();
DROP FUNCTION note_fact(TEXT, TEXT[]);
DROP FUNCTION microseconds(TIMESTAMPTZ);
DROP FUNCTION chain_hash(BYTEA, TEXT[]);
ALTER TABLE engine_state DROP COLUMN facts_since;
ALTER TABLE journal DROP COLUMN facts;
