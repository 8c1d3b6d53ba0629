"""PostgreSQL: schema, pools, and what is read from and written to it."""
