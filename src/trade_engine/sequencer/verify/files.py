"""Archived files: each is what was noted of it, and those of the journal are one chain with what is in the database."""

import asyncio
import gzip
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from trade_engine.sequencer.journal import chain
from trade_engine.sequencer.verify.report import Report
from trade_engine.storage.archive import archived, check_file
from trade_engine.storage.errors import ArchiveError
from trade_engine.storage.types import AnyConnection, Record


class _Ends(NamedTuple):
    """Where a file of the journal begins and ends, and what is wrong in between."""

    previous_hash: bytes
    last_hash: bytes
    wrong: list[str]


async def check_files(
    connection: AnyConnection, folder: Path, report: Report, progress: Callable[[int, int], None] | None = None
) -> None:
    """Read every archived file; differences are noted in the report."""
    rows = await archived(connection)
    known: set[bytes] = set()
    for number, row in enumerate(rows, 1):
        try:
            await check_file(row, folder)
        except ArchiveError as error:
            report.differ("facts", str(error))
            continue
        report.files += 1
        if row["table_name"] == "journal" and row["row_count"]:
            await _check_journal(connection, row, folder / row["file_name"], known, report)
        if progress:
            progress(number, len(rows))


async def _check_journal(connection: AnyConnection, row: Record, path: Path, known: set[bytes], report: Report) -> None:
    ends = await asyncio.to_thread(_follow, path, list(row["columns"]))
    for text in ends.wrong:
        report.differ("chain", f"{path.name}: {text}")
    # What comes before and after it is another file, rows that were restored, or the rest of the journal.
    if ends.previous_hash and ends.previous_hash not in known:
        before = await connection.fetchval("SELECT 1 FROM journal WHERE hash = $1 LIMIT 1", ends.previous_hash)
        if before is None:
            report.differ("chain", f"{path.name} does not follow the batch before it")
    known.add(ends.last_hash)


def _follow(path: Path, columns: Sequence[str]) -> _Ends:
    """Follow the chain through one file."""
    places = {name: place for place, name in enumerate(columns)}
    first_hash: bytes | None = None
    previous, last, wrong = b"", 0, []
    with gzip.open(path, "rb") as file:
        for line in file:
            fields = line.rstrip(b"\n").split(b"\t")

            def value(name: str, fields: list[bytes] = fields) -> bytes:
                return bytes.fromhex(fields[places[name]].removeprefix(b"\\\\x").decode())

            begin, end = int(fields[places["first_sequence"]]), int(fields[places["last_sequence"]])
            has_facts = fields[places["facts"]] != b"\\N"
            if first_hash is None:
                first_hash = value("previous_hash")
            elif value("previous_hash") != previous or begin != last + 1:
                wrong.append(f"batch {begin}-{end} does not follow the one before it")
            digest = chain(
                value("previous_hash"), begin, end, value("state_hash"), value("commands"), value("events"),
                value("facts") if has_facts else None,
            )  # fmt: skip
            if digest != value("hash"):
                wrong.append(f"batch {begin}-{end} does not have the hash of what it holds")
            previous, last = value("hash"), end
    return _Ends(first_hash or b"", previous, wrong[:10])
