DROP FUNCTION wallet.reserve_many, wallet.release_many, wallet.fund_many;
