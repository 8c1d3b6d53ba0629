"""PostgreSQL: the server that the engine brings along, pools, migrations, partitions and the rows of each table.

The one place, beside the ledger's own service and the commit, that speaks SQL.  It decides nothing about orders.
"""
