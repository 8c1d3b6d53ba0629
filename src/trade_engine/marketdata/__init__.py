"""Market data: pure folds over committed events.  They never see an event that is not in the database."""
