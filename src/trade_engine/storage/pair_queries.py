"""What the API reads of pairs of orders; one statement each, through ``Queries``."""

from collections.abc import Sequence

from trade_engine.domain.orders import OrderPair
from trade_engine.storage import order_lookup
from trade_engine.storage.order_lookup import Statement
from trade_engine.storage.order_rows import pair_from_row
from trade_engine.storage.queries import Queries


async def pair_named(queries: Queries, user_id: str, *, number: int | None, called: str | None) -> OrderPair | None:
    """A user's pair by its number, or by his own name for it.

    Raises:
        Unavailable: DATABASE_UNAVAILABLE.
    """
    if number is not None:
        found = await _read(queries, order_lookup.pair_of_number(user_id, number))
    else:
        found = await _read(queries, order_lookup.pair_of_client(user_id, str(called)))
    return found[0] if found else None


async def pairs_of_numbers(queries: Queries, user_id: str, numbers: Sequence[int]) -> list[OrderPair]:
    """A user's pairs by their numbers, oldest first.

    Raises:
        Unavailable: DATABASE_UNAVAILABLE.
    """
    return await _read(queries, order_lookup.pairs_of_numbers(user_id, numbers)) if numbers else []


async def pairs_between(
    queries: Queries, user_id: str, *, least: int | None, start_us: int, end_us: int, limit: int
) -> list[OrderPair]:
    """A user's pairs of a time, oldest first: the first ones from the number ``least`` on, or the newest ones.

    Raises:
        Unavailable: DATABASE_UNAVAILABLE.
    """
    newest = least is None
    found = await _read(queries, order_lookup.pairs(user_id, least or 0, start_us, end_us, limit, newest=newest))
    return found[::-1] if newest else found


async def _read(queries: Queries, statement: Statement) -> list[OrderPair]:
    return [pair_from_row(row) for row in await queries.rows(statement)]
