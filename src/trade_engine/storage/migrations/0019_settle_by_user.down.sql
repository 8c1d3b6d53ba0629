DROP FUNCTION wallet.settle_by_user, wallet.gather_reservations;
DROP INDEX wallet.reservations_by_user;
