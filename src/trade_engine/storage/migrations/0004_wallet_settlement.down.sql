DROP FUNCTION wallet.settle_many, wallet.open_settled_balances, wallet.settled_before;
