"""What tests stand on: a private PostgreSQL, fresh databases, data directories."""
