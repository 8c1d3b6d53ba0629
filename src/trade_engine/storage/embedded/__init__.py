"""A private PostgreSQL in the engine's data directory: what ``serve`` uses when no database is configured.

The same server, the same SQL and the same guarantees as any other PostgreSQL: only the installing and starting is
done for the operator.  It listens on a unix socket in a folder that only its owner can enter, never on the network.
"""

from trade_engine.storage.embedded.binaries import Binaries, find_binaries
from trade_engine.storage.embedded.configuration import EmbeddedSettings
from trade_engine.storage.embedded.extensions import create_statement_statistics
from trade_engine.storage.embedded.server import EmbeddedPostgres, running_url, use_embedded

__all__ = [
    "Binaries",
    "EmbeddedPostgres",
    "EmbeddedSettings",
    "create_statement_statistics",
    "find_binaries",
    "running_url",
    "use_embedded",
]
