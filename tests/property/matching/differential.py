"""Both books, one random flow: every event, byte for byte, and the state hash after every few commands.

An auditor reads every event as well, so that a mistake both books share does not pass.  Run it alone as
``python -m tests.property.matching.differential N [SEED]``; it prints the seed, what happened how often, and where the
two differ the command and the first differing event.
"""

import random
import sys
import time
from collections import Counter

from tests.property.matching.auditor import Auditor
from tests.property.matching.random_flow import MARKET, RandomFlow
from trade_engine.domain.commands import COMMAND_SIZE, decode_commands
from trade_engine.domain.enums import MarketState, Reason
from trade_engine.domain.events import Event, EventKind, decode_events
from trade_engine.matching.books import new_book
from trade_engine.matching.protocol import Book

_BATCH_MAX = 10
_CHECK_EVERY = 4_000
_REBUILD_EVERY = 40_000


#: How often each kind of event came with each reason.
Counts = Counter[tuple[int, int]]


def run(commands: int, seed: int) -> Counts:
    """Drive both books with ``commands`` commands; counts of what happened.

    Raises:
        AssertionError: they differ, or one breaks an invariant; the message holds seed and command.
    """
    flow, draw, auditor = RandomFlow(seed), random.Random(seed + 1), Auditor()
    books: list[Book] = [new_book(MARKET, "reference"), new_book(MARKET, "native")]
    counts: Counts = Counter()
    done = next_check = 0
    next_rebuild = _REBUILD_EVERY
    while done < commands:
        size = min(draw.randint(1, _BATCH_MAX), commands - done)
        batch = flow.batch(size)
        expected, got = (book.apply(batch) for book in books)
        if expected != got or len({book.state_hash() for book in books}) > 1:
            raise AssertionError(f"seed {seed}, command {done}: {_difference(batch, expected, got)}")
        counts.update(zip(expected[::72], expected[1::72], strict=True))
        _audit(auditor, batch, expected, f"seed {seed}, command {done}")
        due = {book.triggers_due() for book in books}
        assert len(due) == 1, f"seed {seed}, command {done}: only one of them says that stops are due"
        flow.know(list(auditor.accounts), _not_to_link(auditor), due.pop())
        done += size
        if done >= next_check:
            _check(books, seed, done)
            auditor.compare(books[0])
            next_check += _CHECK_EVERY
        if done >= next_rebuild:
            books = [_rebuilt(book) for book in books]
            next_rebuild += _REBUILD_EVERY
    _check(books, seed, done)
    auditor.compare(books[0])
    return counts


def _not_to_link(auditor: Auditor) -> set[int]:
    """Orders that are filled in part, or may be a leg already."""
    taken = {number for number, account in auditor.accounts.items() if account.filled}
    for number, account in auditor.accounts.items():
        if account.placed.linked_number:
            taken |= {number, account.placed.linked_number}
    return taken


def _audit(auditor: Auditor, batch: bytes, answer: bytes, place: str) -> None:
    events: dict[int, list[Event]] = {}
    for event in decode_events(answer):
        events.setdefault(event.sequence, []).append(event)
    for command in decode_commands(batch):
        try:
            auditor.read(command, events.get(command.sequence, []))
        except (AssertionError, KeyError) as wrong:
            raise AssertionError(f"{place}: {command}: {events.get(command.sequence)}") from wrong


def never(counts: Counts) -> set[str]:
    """Kinds of events and reasons that did not happen although they can."""
    kinds, reasons = (
        {kind for kind, _ in counts},
        {reason for kind, reason in counts if kind != EventKind.STATE_CHANGED},
    )
    unreachable = {Reason.OUT_OF_MEMORY, Reason.NOT_AMENDABLE}
    return {kind.name for kind in EventKind if kind not in kinds} | {
        reason.name for reason in Reason if reason not in reasons | unreachable
    }


def show(counts: Counts) -> str:
    """The counts as lines of words, by kind and reason."""
    lines = []
    for (kind, reason), count in sorted(counts.items()):
        named = MarketState(reason) if kind == EventKind.STATE_CHANGED else Reason(reason)
        lines.append(f"  {EventKind(kind).name:14}{'' if named.name == 'NONE' else named.name:26}{count:>12,}")
    return "\n".join(lines)


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
    fresh.load(book.dump())
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
    seconds = time.perf_counter() - started
    refused = sum(count for (kind, _), count in counts.items() if kind == EventKind.REJECTED)
    print(show(counts))
    print(f"equal: {commands:,} commands in {seconds:.1f} s, {refused / commands:.1%} refused, seed {seed}")
    if never(counts):
        print(f"never happened: {', '.join(sorted(never(counts)))}")


if __name__ == "__main__":
    main()
