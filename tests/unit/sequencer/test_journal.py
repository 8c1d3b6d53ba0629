"""The journal's hashes and facts: whatever changes changes the hash, and neither rule passes for the other."""

import hashlib

import msgspec
import pytest

from trade_engine.domain.chained import chain_fields
from trade_engine.sequencer.bookkeeping import Changes, WalletInstruction
from trade_engine.sequencer.facts import (
    BatchFacts,
    PlacedFact,
    decode_facts,
    encode_facts,
    given_facts,
    uuid_bytes,
    uuid_text,
)
from trade_engine.sequencer.journal import chain

ORDER, USER = "01a1fcb8-eb76-7de3-98b2-9848dd881c86", "00000000-0000-7000-8000-00000000a11c"
BATCH = (b"p" * 32, 7, 9, b"s" * 16, b"commands", b"events")


def test_the_rule_of_the_first_version_stays() -> None:
    lengths = (7).to_bytes(8, "big") + (9).to_bytes(8, "big") + (8).to_bytes(8, "big")
    assert chain(*BATCH, None) == hashlib.sha256(b"p" * 32 + lengths + b"s" * 16 + b"commandsevents").digest()


@pytest.mark.parametrize("place", range(7))
def test_everything_counts_in_a_batch_with_facts(place: int) -> None:
    batch: list[bytes | int] = [*BATCH, b"facts"]
    before = chain(*batch)  # type: ignore[arg-type]
    value = batch[place]
    batch[place] = value + 1 if isinstance(value, int) else bytes([value[0] ^ 1]) + value[1:]
    assert chain(*batch) != before  # type: ignore[arg-type]


def test_what_stands_where_counts() -> None:
    moved = (*BATCH[:4], b"commandse", b"vents")
    assert chain(*moved, b"facts") != chain(*BATCH, b"facts")
    assert chain(*BATCH, b"") != chain(*BATCH, None), "no facts at all are not empty facts"


def test_facts_come_back_as_they_were() -> None:
    changes = Changes()
    changes.instructions.append(WalletInstruction("SETTLE", "t", None, None, None, None, "trade"))
    changes.give([WalletInstruction("RELEASE", None, ORDER, USER, "USDT", None, "never placed")])
    assert changes.given == [1]
    placed = PlacedFact(uuid_bytes(ORDER), uuid_bytes(USER), "mine", None, 50_000, 100_000, 1, 2**63 - 1)
    facts = BatchFacts(
        since=1,
        epoch=2,
        time_us=3,
        trade_sequence=4,
        instruction_id=5,
        candles=6,
        placed=[placed],
        given=given_facts(changes.instructions, changes.given),
    )
    assert decode_facts(encode_facts(facts)) == facts
    assert uuid_text(facts.placed[0].order_id) == ORDER
    assert facts.given[0].position == 1


@pytest.mark.parametrize("record", [b"", b"\x90", b"nonsense", msgspec.msgpack.encode([2, 1, 1, 1, 1, 1, 1, [], []])])
def test_facts_that_cannot_be_read_are_refused(record: bytes) -> None:
    with pytest.raises(ValueError):
        decode_facts(record)


def test_no_two_lists_of_fields_look_alike() -> None:
    lists: list[list[str | None]] = [["a", "b"], ["a,1:b"], ["ab"], ["a", None, "b"], ["a", "-", "b"], ["a", "b", ""]]
    assert len({chain_fields(b"", fields) for fields in lists}) == len(lists)
    assert chain_fields(b"x", ["a"]) != chain_fields(b"", ["a"])
