DROP INDEX orders_ended_by_user;
DROP INDEX orders_open_by_user;
