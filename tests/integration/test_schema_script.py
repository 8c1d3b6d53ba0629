"""`scripts/verify-database-schema`: nothing in a database as migrated, each thing that somebody changed by hand."""

import asyncio
import subprocess
import sys
from typing import Final

import asyncpg
from scripts.verify_database_schema import differences, read_schema

from tests.conftest import ROOT

#: What is done by hand, and how the line that tells of it begins.
BY_HAND: Final = {
    "ALTER TABLE orders ADD COLUMN note TEXT": "extra    column public.orders.note",
    "ALTER TABLE markets ALTER COLUMN symbol DROP NOT NULL": "differs  column public.markets.symbol: ",
    "ALTER TABLE journal ALTER COLUMN commands SET STORAGE EXTENDED": "differs  column public.journal.commands: ",
    "ALTER TABLE admin_audit DISABLE TRIGGER append_only": "differs  trigger public.admin_audit.append_only: ",
    "DROP INDEX wallet.ledger_entries_by_user": "missing  index wallet.ledger_entries_by_user",
    "DROP TRIGGER zero_sum ON wallet.ledger_entries": "missing  trigger wallet.ledger_entries.zero_sum",
    "CREATE OR REPLACE FUNCTION at_us(us BIGINT) RETURNS TIMESTAMPTZ LANGUAGE sql AS 'SELECT now()'": (
        "differs  function public.at_us(us bigint): "
    ),
    "DROP VIEW monitoring.active_orders_summary": "missing  view monitoring.active_orders_summary",
    "CREATE TABLE wallet.loans (user_id UUID)": "extra    column wallet.loans.user_id",
}


async def compared(url: str, reference: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, str(ROOT / "scripts" / "verify_database_schema.py"), "--url", url]
    return await asyncio.to_thread(
        subprocess.run, [*command, "--reference", reference], capture_output=True, text=True, timeout=120, check=False
    )


async def test_a_migrated_database_is_as_the_migrations_make_it(database_url: str, empty_database_url: str) -> None:
    done = await compared(database_url, empty_database_url)
    assert (done.returncode, done.stdout.splitlines()[-1:]) == (0, ["nothing differs"]), done.stdout + done.stderr
    again = await compared(database_url, empty_database_url)
    assert (again.returncode, again.stderr) == (2, "error: the reference is not empty\n")


async def test_what_was_changed_by_hand_is_told_and_nothing_else(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        before = await read_schema(connection)
        assert len(before) > 300
        for change in BY_HAND:
            await connection.execute(change)
        lines = differences(await read_schema(connection), before)
    finally:
        await connection.close()
    for change, told in BY_HAND.items():
        assert any(line.startswith(told) for line in lines), change
    assert len(lines) == len(BY_HAND), lines
