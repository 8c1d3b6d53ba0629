"""The page on the schema names every table and every column of a migrated database, and nothing else."""

import re
from collections import defaultdict
from pathlib import Path
from typing import Final

import asyncpg

PAGE: Final = Path(__file__).parents[2] / "docs" / "developer" / "schema.md"
_COLUMNS: Final = """
    SELECT CASE n.nspname WHEN 'public' THEN c.relname ELSE n.nspname || '.' || c.relname END AS table,
        a.attname AS column
    FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND n.nspname IN ('public', 'wallet')"""


def named() -> dict[str, set[str]]:
    """The columns of each table, as the page has them: below the table's heading, behind ``Columns:``."""
    sections = re.findall(r"^### `([\w.]+)`$(.*?)(?=^#|\Z)", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return {table: set(re.findall(r"`(\w+)`", text.partition("\nColumns: ")[2])) for table, text in sections}


async def test_the_page_names_every_column(connection: asyncpg.Connection) -> None:
    there: defaultdict[str, set[str]] = defaultdict(set)
    for row in await connection.fetch(_COLUMNS):
        there[row["table"]].add(row["column"])
    assert named() == dict(there)
