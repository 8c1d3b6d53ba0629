"""Statements that find single orders: by the user's own id, by number, by ids.

No index knows an order's number, and none is made for it: each would cost every order that is placed.  The journal
knows when the command of that number was carried out, and the order's id, made shortly before, begins with a time.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from trade_engine.domain.ids import uuid7_floor
from trade_engine.storage.order_rows import ORDER_COLUMNS, PAIR_COLUMNS

#: An order's id is made when it is admitted, and its batch is stamped far less than this later.
ID_AGE_US: Final = 300_000_000
#: Batches are stamped with whole microseconds, ids hold milliseconds.
_GRAIN_US: Final = 2_000


class Statement(NamedTuple):
    """One statement and what it takes."""

    text: str
    values: list[Any]
    #: It looked at so many rows, if it looked at all that it may.
    scan: int = 0


def of_client(user_id: str, client_order_id: str) -> Statement:
    """A user's order by his own id for it."""
    text = (
        f"SELECT {ORDER_COLUMNS} FROM orders WHERE order_id ="
        " (SELECT order_id FROM client_orders WHERE user_id = $1 AND client_order_id = $2)"
    )
    return Statement(text, [user_id, client_order_id])


def stamp_of(number: int) -> Statement:
    """When the command of a number was carried out; no row if there was none yet."""
    text = (
        "SELECT (extract(epoch FROM stamped_at) * 1000000)::BIGINT AS stamped_us FROM journal"
        " WHERE last_sequence >= $1 ORDER BY last_sequence LIMIT 1"
    )
    return Statement(text, [number])


def of_number(user_id: str, market_id: int, number: int, stamped_us: int) -> Statement:
    """A user's order by its number, whose batch was stamped then."""
    text = (
        f"SELECT {ORDER_COLUMNS} FROM orders WHERE user_id = ANY ($1) AND market_id = $2"
        " AND order_id >= $3 AND order_id < $4 AND sequence = $5"
        " ORDER BY user_id DESC, market_id DESC, order_id DESC LIMIT 1"
    )
    earliest, latest = uuid7_floor(max(0, stamped_us - ID_AGE_US)), uuid7_floor(stamped_us + _GRAIN_US)
    return Statement(text, [[user_id], market_id, earliest, latest, number])


def of_ids(order_ids: Sequence[str]) -> Statement:
    """Orders by their ids, oldest first."""
    return Statement(f"SELECT {ORDER_COLUMNS} FROM orders WHERE order_id = ANY ($1) ORDER BY order_id", [order_ids])


def pair_of_number(user_id: str, number: int) -> Statement:
    """A user's pair by its number."""
    return Statement(
        f"SELECT {PAIR_COLUMNS} FROM order_pairs WHERE user_id = $1 AND pair_number = $2", [user_id, number]
    )


def pair_of_client(user_id: str, client_pair_id: str) -> Statement:
    """A user's newest pair of his own name for it."""
    text = (
        f"SELECT {PAIR_COLUMNS} FROM order_pairs WHERE user_id = $1 AND client_pair_id = $2"
        " ORDER BY pair_number DESC LIMIT 1"
    )
    return Statement(text, [user_id, client_pair_id])


def pairs(user_id: str, least: int, start_us: int, end_us: int, limit: int, *, newest: bool) -> Statement:
    """A user's pairs from a number on, of a time; the oldest of them, or the newest, in that order."""
    text = (
        f"SELECT {PAIR_COLUMNS} FROM order_pairs WHERE user_id = $1 AND pair_number >= $2"
        " AND created_at >= at_us($3) AND created_at < at_us($4)"
        f" ORDER BY pair_number {'DESC' if newest else 'ASC'} LIMIT $5"
    )
    return Statement(text, [user_id, least, start_us, end_us, limit])


def pairs_of_numbers(user_id: str, numbers: Sequence[int]) -> Statement:
    """A user's pairs by their numbers, oldest first."""
    text = (
        f"SELECT {PAIR_COLUMNS} FROM order_pairs WHERE user_id = $1 AND pair_number = ANY ($2::BIGINT[])"
        " ORDER BY pair_number"
    )
    return Statement(text, [user_id, numbers])


def numbers_of(order_ids: Sequence[str]) -> Statement:
    """The numbers of orders."""
    return Statement("SELECT order_id::TEXT, sequence FROM orders WHERE order_id = ANY ($1)", [order_ids])
