DROP SCHEMA monitoring CASCADE;
DROP SCHEMA archive CASCADE;
DROP INDEX client_orders_by_order;
