"""Facts of a batch: what its commands do not say and a replay cannot know, chained into the journal with it.

The core knows orders and traders by number.  Whose they are, what they were called, at which fees they were accepted
and what was reserved for them is here, beside where the engine's counters stood.  One msgpack record a batch
(docs/developer/journal.md).
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from trade_engine.domain.orders import Order
from trade_engine.sequencer.bookkeeping import WalletInstruction

#: Of the record's layout; one that is not known is a difference, never a guess.
VERSION: Final = 1


class PlacedFact(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One new order, as it was accepted; rates and amounts in units of 1e-8."""

    #: 16 bytes each.
    order_id: bytes
    user_id: bytes
    client_order_id: str | None
    institution_id: str | None
    maker_fee: int
    taker_fee: int
    fee_asset: int
    reserved: int


class GivenFact(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A wallet instruction that follows from no event: a release of what was reserved for nothing."""

    #: Where it stands among the instructions of its batch, from 0.
    position: int
    order_id: bytes
    user_id: bytes
    asset: str
    amount: int | None
    reason: str


class PairFact(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What the user calls a pair; its legs are told by the command of the second one."""

    second_number: int
    client_pair_id: str | None


class BatchFacts(msgspec.Struct, array_like=True, frozen=True, kw_only=True):
    """All facts of a batch."""

    version: int = VERSION
    #: Every batch from this sequence on has facts.
    since: int
    epoch: int
    #: When the batch was stamped, microseconds since 1970.
    time_us: int
    #: Counters before the batch.
    trade_sequence: int
    instruction_id: int
    #: Up to which trade the table of candles was known to be complete.
    candles: int
    #: One a PLACE, in order.
    placed: list[PlacedFact]
    given: list[GivenFact]
    #: One a pair, in order; versions before 0.3 placed none.
    pairs: list[PairFact] = []


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(BatchFacts)


def placed_fact(order: Order) -> PlacedFact:
    """What is to be kept of a new order."""
    return PlacedFact(
        uuid_bytes(order.order_id),
        uuid_bytes(order.user_id),
        order.client_order_id,
        order.institution_id,
        order.maker_fee,
        order.taker_fee,
        order.fee_asset,
        order.reserved,
    )


def pair_facts(second_legs: Iterable[Order]) -> list[PairFact]:
    """What is to be kept of new pairs."""
    return [PairFact(order.sequence, order.client_pair_id) for order in second_legs]


def given_facts(instructions: list[WalletInstruction], positions: Iterable[int]) -> list[GivenFact]:
    """What is to be kept of the instructions at these positions of a batch."""
    return [
        GivenFact(
            position, uuid_bytes(i.order_id or ""), uuid_bytes(i.user_id or ""), i.asset or "", i.amount, i.reason
        )
        for position in positions
        for i in (instructions[position],)
    ]


def encode_facts(facts: BatchFacts) -> bytes:
    """The record of a batch's facts."""
    return _encoder.encode(facts)


def decode_facts(record: bytes) -> BatchFacts:
    """Read a record back.

    Raises:
        ValueError: it is none, or of a version that is not known here.
    """
    facts = _decoder.decode(record)
    if facts.version != VERSION:
        raise ValueError(f"facts of version {facts.version}, which is not known here")
    return facts


def uuid_bytes(text: str) -> bytes:
    """A canonical UUID as its 16 bytes."""
    return bytes.fromhex(text.replace("-", ""))


def uuid_text(value: bytes) -> str:
    """16 bytes as a canonical UUID."""
    digits = value.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
