DROP TABLE candles;
DROP TYPE candle_interval_enum;
