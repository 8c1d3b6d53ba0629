-- Open orders of a market by side and price: a book as SQL sees it.  No fill of a resting order changes any of these.

CREATE INDEX orders_open_by_price ON orders (market_id, side, price) WHERE is_open;
