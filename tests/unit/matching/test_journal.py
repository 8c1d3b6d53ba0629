"""A journal outlives the core: commands of version 0.1.0 give the events and state hashes that they gave then.

``journals/0.1.0.commands.zlib`` holds random commands of every kind as that version sequenced them, one market's, and
``journals/0.1.0.txt`` what its core answered: after so many commands so many events, the SHA-256 of all events' bytes,
and the state hash.
"""

import zlib
from hashlib import sha256
from pathlib import Path

import pytest

from trade_engine.domain.commands import COMMAND_SIZE, Command, CommandKind, RuleFlag, decode_commands, encode_command
from trade_engine.domain.events import decode_events
from trade_engine.matching.books import BookKind, new_book

JOURNALS = Path(__file__).parent / "journals"
_MARKET = 7


@pytest.fixture(scope="module")
def commands() -> bytes:
    return zlib.decompress((JOURNALS / "0.1.0.commands.zlib").read_bytes())


def test_a_journal_of_version_0_1_0_replays_to_the_same_events_and_hashes(kind: BookKind, commands: bytes) -> None:
    book, events, done = new_book(_MARKET, kind), b"", 0
    for line in (JOURNALS / "0.1.0.txt").read_text().splitlines():
        count, event_count, digest, state_hash = line.split()
        events += book.apply(commands[done * COMMAND_SIZE : int(count) * COMMAND_SIZE])
        done = int(count)
        assert sum(1 for _ in decode_events(events)) == int(event_count), f"among the first {count} commands"
        assert sha256(events).hexdigest() == digest, f"among the first {count} commands"
        assert f"{book.state_hash():032x}" == state_hash, f"after {count} commands"
    assert done == len(commands) // COMMAND_SIZE


def test_it_sets_off_cascades_and_reaches_the_maximum_of_fills(commands: bytes) -> None:
    """What changed since is in that journal, and the new rule would have led elsewhere."""
    told = list(decode_commands(commands))
    assert {command.kind for command in told} >= set(CommandKind) - {CommandKind.TRIGGER}
    book = new_book(_MARKET, "reference")
    changed = [c._replace(flags=RuleFlag.CASCADE_BUDGET) if c.kind == CommandKind.CONFIGURE else c for c in told]
    for command in changed:
        book.apply(encode_command(command))
        while book.triggers_due():
            book.apply(encode_command(Command(CommandKind.TRIGGER, command.sequence, command.time_us, _MARKET)))
    assert f"{book.state_hash():032x}" != (JOURNALS / "0.1.0.txt").read_text().split()[-1]
