"""Compare a database's schema with the one that the migrations make, object by object; a line for each difference.

The other side is made anew: on a private PostgreSQL in a temporary folder, or with ``--reference`` on an empty database
that you name.  Partitions, which come and go, are left out.  The database is only read.  Status 1: something differs.

    scripts/verify-database-schema --url postgresql://...          # default: the engine's options
"""

import argparse
import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import asyncpg

from trade_engine.config import ConfigError, load_config
from trade_engine.storage.embedded import EmbeddedPostgres, EmbeddedSettings
from trade_engine.storage.errors import EmbeddedError, SchemaError
from trade_engine.storage.migrate import load_migrations, require_current, up

#: Each kind of object: its name, and everything that makes it what it is.
KINDS: Final = {
    "column": """
        SELECT format('%s.%s.%s', n.nspname, c.relname, a.attname) AS name,
            concat_ws(' ', format_type(a.atttypid, a.atttypmod), CASE WHEN a.attnotnull THEN 'NOT NULL' END,
                pg_get_expr(d.adbin, d.adrelid), nullif(a.attgenerated::TEXT, ''), nullif(a.attidentity::TEXT, ''),
                'storage ' || a.attstorage::TEXT) AS terms
        FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace
        LEFT JOIN pg_attrdef AS d ON d.adrelid = c.oid AND d.adnum = a.attnum
        WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p') AND NOT c.relispartition AND {ours}""",
    "view": """
        SELECT format('%s.%s', n.nspname, c.relname) AS name, pg_get_viewdef(c.oid) AS terms
        FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('v', 'm') AND {ours}""",
    "constraint": """
        SELECT format('%s.%s.%s', n.nspname, c.relname, o.conname) AS name,
            pg_get_constraintdef(o.oid) || CASE WHEN o.convalidated THEN '' ELSE ' not validated' END AS terms
        FROM pg_constraint AS o JOIN pg_class AS c ON c.oid = o.conrelid
        JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE o.contype <> 'n' AND o.conparentid = 0 AND NOT c.relispartition AND {ours}""",
    "index": """
        SELECT format('%s.%s', n.nspname, c.relname) AS name,
            pg_get_indexdef(i.indexrelid) || CASE WHEN i.indisvalid THEN '' ELSE ' not valid' END AS terms
        FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indexrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE NOT c.relispartition AND {ours}""",
    "function": """
        SELECT format('%s.%s(%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)) AS name,
            concat_ws(' ', pg_get_function_result(p.oid), p.prosrc, p.provolatile::TEXT, p.prosecdef, p.proconfig)
                AS terms
        FROM pg_proc AS p JOIN pg_namespace AS n ON n.oid = p.pronamespace WHERE {ours}
            AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = p.oid AND deptype = 'e')""",
    "trigger": """
        SELECT format('%s.%s.%s', n.nspname, c.relname, t.tgname) AS name,
            pg_get_triggerdef(t.oid) || ' enabled ' || t.tgenabled::TEXT AS terms
        FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = t.tgrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE NOT t.tgisinternal AND NOT c.relispartition AND {ours}""",
    "sequence": """
        SELECT format('%s.%s', n.nspname, c.relname) AS name, s.seqtypid::REGTYPE || ' by ' || s.seqincrement AS terms
        FROM pg_sequence AS s JOIN pg_class AS c ON c.oid = s.seqrelid JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE {ours}""",
}
_OURS: Final = "n.nspname IN ('public', 'wallet', 'monitoring')"
#: Each is one line of the report.
_SHOWN: Final = 120

Schema = dict[tuple[str, str], str]


async def read_schema(connection: asyncpg.Connection) -> Schema:
    """Every object of the engine's schemas, by kind and name."""
    found: Schema = {}
    # Names are written out whole or not by what is on the path.
    async with connection.transaction(readonly=True):
        await connection.execute("SET LOCAL search_path = public")
        for kind, sql in KINDS.items():
            for row in await connection.fetch(sql.format(ours=_OURS)):
                found[kind, row["name"]] = str(row["terms"])
    return found


def differences(found: Schema, wanted: Schema) -> list[str]:
    """What one has and the other has not, and what is another thing."""
    lines = [f"missing  {kind} {name}" for kind, name in sorted(wanted.keys() - found.keys())]
    lines += [f"extra    {kind} {name}" for kind, name in sorted(found.keys() - wanted.keys())]
    for key in sorted(wanted.keys() & found.keys()):
        if found[key] != wanted[key]:
            lines.append(f"differs  {key[0]} {key[1]}: {_at(found[key], wanted[key])}")
    return lines


def _at(found: str, wanted: str) -> str:
    """Both texts, from a little before where they part."""
    pairs = zip(found, wanted, strict=False)
    same = next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(found), len(wanted)))
    begin = max(0, same - 20)
    return f"{found[begin:][:_SHOWN]!r} in place of {wanted[begin:][:_SHOWN]!r}"


@asynccontextmanager
async def reference(url: str | None) -> AsyncIterator[str]:
    """An empty database: the one named, or one on a private server that ends with the block."""
    if url is not None:
        yield url
        return
    with tempfile.TemporaryDirectory(prefix="trade-engine-schema-") as folder:
        os.chmod(folder, 0o755)  # noqa: PTH101 - nothing waits for it
        server = EmbeddedPostgres(Path(folder), EmbeddedSettings())
        try:
            yield await server.start()
        finally:
            await server.stop()


async def compare(url: str, reference_url: str | None) -> list[str]:
    """What differs; first of all, which migrations ran.

    Raises:
        SchemaError: the named reference is not empty.
    """
    connection = await asyncpg.connect(url)
    try:
        lines = []
        try:
            await require_current(connection, load_migrations())
        except SchemaError as error:
            lines.append(f"migrations: {error}")
        async with reference(reference_url) as other:
            made = await asyncpg.connect(other)
            try:
                if await read_schema(made):
                    raise SchemaError("the reference is not empty")
                await up(made, load_migrations())
                wanted = await read_schema(made)
            finally:
                await made.close()
        found = await read_schema(connection)
        print(f"{len(found)} objects, {len(wanted)} wanted")
        return [*lines, *differences(found, wanted)]
    finally:
        await connection.close()


def main() -> int:
    """Print what differs; 1 if anything does, 2 if it could not be compared."""
    parser = argparse.ArgumentParser(prog="verify-database-schema", description=__doc__)
    parser.add_argument("--url", help="the database; default: database.direct_url or database.url of the options")
    parser.add_argument("--config", type=Path, help="the engine's file of options")
    parser.add_argument("--reference", metavar="URL", help="an empty database to make the schema in")
    options = parser.parse_args()
    try:
        database = load_config(options.config).database
        url = options.url or database.direct_url or database.url
        if url is None:
            raise SchemaError("name the database: --url, or database.url")
        lines = asyncio.run(compare(url, options.reference))
    except (ConfigError, EmbeddedError, SchemaError, OSError, asyncpg.PostgresError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    print("\n".join(lines) if lines else "nothing differs")
    return int(bool(lines))


if __name__ == "__main__":
    sys.exit(main())
