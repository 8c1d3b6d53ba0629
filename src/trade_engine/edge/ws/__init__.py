"""The WebSocket API: what the market does and what happens to one's own orders, as it is committed; and commands.

    connection   bytes <-> messages of one client, its buffer and its end
    session      commands of one client: login, subscriptions, orders
    channels     what each market channel shows, and what a late reader needs to catch up
    accounts     what each private channel shows
    hub          who listens to what; hands out what was committed, never slower than the slowest may be

Only committed facts leave here, and no reader is ever waited for.
"""
