-- Candles: what traded in each interval, kept when the trades themselves are archived (SPEC 7.2).

CREATE TYPE candle_interval_enum AS ENUM ('1m', '5m', '15m', '1h', '4h', '1d');

CREATE TABLE candles (
    market_id INTEGER NOT NULL REFERENCES markets,
    interval candle_interval_enum NOT NULL,
    start_at TIMESTAMPTZ NOT NULL,
    open NUMERIC(20, 8) NOT NULL,
    high NUMERIC(20, 8) NOT NULL,
    low NUMERIC(20, 8) NOT NULL CHECK (low > 0),
    close NUMERIC(20, 8) NOT NULL,
    volume NUMERIC(38, 8) NOT NULL CHECK (volume > 0),
    quote_volume NUMERIC(38, 8) NOT NULL CHECK (quote_volume > 0),
    trades BIGINT NOT NULL CHECK (trades > 0),
    last_sequence BIGINT NOT NULL,
    PRIMARY KEY (market_id, interval, start_at),
    CONSTRAINT shape CHECK (open BETWEEN low AND high AND close BETWEEN low AND high)
) WITH (fillfactor = 80);
COMMENT ON TABLE candles IS 'holds every trade up to the highest last_sequence; the rest follows within a second';
COMMENT ON COLUMN candles.last_sequence IS 'of the newest trade in it: an older version never replaces a newer one';
