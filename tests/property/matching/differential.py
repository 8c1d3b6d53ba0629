"""Both books, one random flow: every event, byte for byte, and the state hash after every few commands.

Run it alone as ``python -m tests.property.matching.differential N [SEED]``; it prints the seed, and where the two
differ the command and the first differing event.
"""

import random
import sys
import time

from tests.property.matching.random_flow import MARKET, RandomFlow
from trade_engine.domain.commands import COMMAND_SIZE, decode_commands
from trade_engine.domain.events import decode_events
from trade_engine.matching.books import new_book
from trade_engine.matching.protocol import Book

_BATCH_MAX = 24
_CHECK_EVERY = 4_000
_REBUILD_EVERY = 40_000


def run(commands: int, seed: int) -> dict[int, int]:
    """Drive both books with ``commands`` commands; counts of events by kind.

    Raises:
        AssertionError: they differ, or one breaks an invariant; the message holds seed and command.
    """
    flow, draw = RandomFlow(seed), random.Random(seed + 1)
    books: list[Book] = [new_book(MARKET, "reference"), new_book(MARKET, "native")]
    counts: dict[int, int] = {}
    done = next_check = 0
    next_rebuild = _REBUILD_EVERY
    while done < commands:
        size = min(draw.randint(1, _BATCH_MAX), commands - done)
        batch = flow.batch(size)
        before = [book.state_hash() for book in books]
        expected, got = (book.apply(batch) for book in books)
        if expected != got or len({book.state_hash() for book in books}) > 1:
            raise AssertionError(f"seed {seed}, command {done}: {_difference(batch, expected, got)} (before: {before})")
        for kind in expected[::72]:
            counts[kind] = counts.get(kind, 0) + 1
        done += size
        if done >= next_check:
            _check(books, seed, done)
            next_check += _CHECK_EVERY
        if done >= next_rebuild:
            books = [_rebuilt(book) for book in books]
            next_rebuild += _REBUILD_EVERY
    _check(books, seed, done)
    return counts


def _check(books: list[Book], seed: int, done: int) -> None:
    first, second = books
    try:
        first.check()
        second.check()
    except AssertionError as broken:
        raise AssertionError(f"seed {seed}, before command {done}: {broken}") from broken
    assert first.live_orders() == second.live_orders(), f"seed {seed}, before command {done}: live orders differ"
    assert first.memory() == second.memory(), f"seed {seed}, before command {done}: memories differ"
    assert first.next_expiry() == second.next_expiry(), f"seed {seed}, before command {done}: next expiry differs"


def _rebuilt(book: Book) -> Book:
    """A fresh book of the same kind that was told everything, as after a restart."""
    fresh = new_book(MARKET, book.kind)  # type: ignore[arg-type]
    fresh.restore(book.memory(), book.live_orders())
    assert fresh.state_hash() == book.state_hash()
    return fresh


def _difference(batch: bytes, expected: bytes, got: bytes) -> str:
    reference, native = list(decode_events(expected)), list(decode_events(got))
    for index in range(max(len(reference), len(native))):
        one, other = reference[index : index + 1], native[index : index + 1]
        if one != other:
            sequence = (one or other)[0].sequence
            command = next((c for c in decode_commands(batch) if c.sequence == sequence), None)
            return f"{command}\n reference {one}\n native    {other}"
    return f"same events, another state hash, after {len(batch) // COMMAND_SIZE} commands ending with {batch[-104:]!r}"


def main() -> None:
    """Run from the command line."""
    commands = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.SystemRandom().getrandbits(32)
    print(f"{commands} commands, seed {seed}", flush=True)
    started = time.perf_counter()
    counts = run(commands, seed)
    print(f"equal, in {time.perf_counter() - started:.1f} s; events by kind: {dict(sorted(counts.items()))}")


if __name__ == "__main__":
    main()
