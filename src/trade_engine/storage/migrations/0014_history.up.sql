-- A user's orders by status and time: one index for the few that are open, one for the many that have ended.  Neither
-- names a column that a fill of a resting order changes and no index named before.

CREATE INDEX orders_open_by_user ON orders (user_id, order_id) WHERE is_open;
CREATE INDEX orders_ended_by_user ON orders (user_id, status, order_id) WHERE NOT is_open;
