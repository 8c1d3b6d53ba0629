"""What an operator sees: logs, metrics, health.  Never in the way of an order, and never a reason for it to fail."""
