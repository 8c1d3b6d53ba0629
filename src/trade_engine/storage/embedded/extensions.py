"""What a server of our own is given beside the schema."""

from typing import Final

from trade_engine.storage.types import Connection

_LOADED: Final = "SELECT current_setting('shared_preload_libraries') LIKE '%pg_stat_statements%'"
_THERE: Final = "SELECT EXISTS (SELECT FROM pg_available_extensions WHERE name = 'pg_stat_statements')"


async def create_statement_statistics(connection: Connection) -> bool:
    """Create pg_stat_statements, which ``monitoring.slow_queries`` reads, where the server has loaded it."""
    if not (await connection.fetchval(_LOADED) and await connection.fetchval(_THERE)):
        return False
    await connection.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
    return True
