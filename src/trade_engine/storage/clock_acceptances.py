"""What operators said of the machine's clock: that it is right as it is, although it jumped (`trade-engine clock`)."""

from typing import NamedTuple

from trade_engine.storage.types import AnyConnection, Pool


class Acceptances(NamedTuple):
    """Up to where the clock's jumps have been accepted."""

    #: Of the last one; 0: there is none.
    number: int
    #: The last stamp in the database, microseconds since 1970, when one was: a clock behind it is accepted.
    stamped_us: int


async def accept_clock(connection: AnyConnection, actor: str, reason: str) -> Acceptances:
    """Write down that the machine's clock is right; audited, in one transaction."""
    async with connection.transaction():
        row = await connection.fetchrow(
            "INSERT INTO clock_acceptances (stamped_us, actor, reason) SELECT clock_us, $1, $2 FROM engine_state"
            " RETURNING acceptance_id, stamped_us",
            actor,
            reason,
        )
        await connection.execute(
            "INSERT INTO admin_audit (actor, action, subject, reason, outcome)"
            " VALUES ($1, 'clock.accept', 'clock', $2, 'done')",
            actor,
            reason,
        )
    assert row is not None
    return Acceptances(*row)


async def extend_acceptance(pool: Pool, number: int, stamped_us: int) -> None:
    """Have an acceptance cover stamps until this one: those that the engine has told since its last commit."""
    await pool.execute(
        "UPDATE clock_acceptances SET stamped_us = greatest(stamped_us, $2) WHERE acceptance_id = $1",
        number,
        stamped_us,
    )


async def clock_acceptances(connection: AnyConnection | Pool) -> Acceptances:
    """What has been accepted so far."""
    row = await connection.fetchrow(
        "SELECT coalesce(max(acceptance_id), 0), coalesce(max(stamped_us), 0) FROM clock_acceptances"
    )
    assert row is not None
    return Acceptances(*row)
