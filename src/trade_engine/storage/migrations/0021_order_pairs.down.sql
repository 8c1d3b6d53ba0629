DROP FUNCTION monitoring.purge_order_pairs(INTEGER, INTEGER);
DROP FUNCTION funding_order(UUID);
DROP FUNCTION note_pairs(UUID[], UUID[], BIGINT[], UUID[], INTEGER[], TEXT[], BIGINT[]);
DROP TABLE order_pairs;
