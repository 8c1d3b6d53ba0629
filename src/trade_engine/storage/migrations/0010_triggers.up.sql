-- What a book remembers of stops that wait for their turn, which meaning its rules have, and the least an iceberg shows.

ALTER TABLE markets
    ADD COLUMN rule_flags BIGINT NOT NULL DEFAULT 0,
    ADD COLUMN reached_high_ticks BIGINT NOT NULL DEFAULT 0,
    ADD COLUMN reached_low_ticks BIGINT NOT NULL DEFAULT 0,
    ADD COLUMN next_high_ticks BIGINT NOT NULL DEFAULT 0,
    ADD COLUMN next_low_ticks BIGINT NOT NULL DEFAULT 0,
    ADD COLUMN min_display_ppm BIGINT NOT NULL DEFAULT 50000 CHECK (min_display_ppm BETWEEN 0 AND 1000000);
COMMENT ON COLUMN markets.rule_flags IS 'bits of RuleFlag, as the core knows them';
COMMENT ON COLUMN markets.reached_high_ticks IS 'BUY stops up to here wait for their turn; 0: none';
COMMENT ON COLUMN markets.reached_low_ticks IS 'SELL stops down to here wait for their turn; 0: none';
COMMENT ON COLUMN markets.next_high_ticks IS 'BUY stops up to here come after those; 0: none';
COMMENT ON COLUMN markets.next_low_ticks IS 'SELL stops down to here come after those; 0: none';
COMMENT ON COLUMN markets.min_display_ppm IS 'least share of its quantity that an iceberg shows, parts per million';
