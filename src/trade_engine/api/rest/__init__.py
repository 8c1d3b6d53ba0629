"""The REST routes, by what they speak of: orders, trades, markets, balances, the system itself."""
