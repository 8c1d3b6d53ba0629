"""The native book: the C++ core with the types of ``protocol.Book``.

Importing this module needs the compiled extension; ``books.new_book`` chooses.  Only answers are wrapped here: the
hot calls (``apply``, ``place``, ``cancel``, ``reduce``, best prices) are the extension's own.
"""

from typing import Final

from trade_engine.domain.enums import Side
from trade_engine.matching import _native
from trade_engine.matching.protocol import Level, MarketMemory, Resting, Walk
from trade_engine.matching.snapshot import open_snapshot, seal_snapshot
from trade_engine.matching.state_hash import (
    ORDER_RECORD_SIZE,
    decode_memory,
    decode_resting,
    encode_memory,
    encode_resting,
)


class NativeBook(_native.Book):
    """One market's book in C++; see ``protocol.Book`` for what each method promises."""

    kind: Final = "native"

    def depth(self, side: Side, levels: int) -> list[Level]:
        """The best levels of a side, best first."""
        return [Level._make(level) for level in self.depth_tuples(side, levels)]

    def walk(self, side: Side, quantity: int, price: int = 0) -> Walk:
        """What a taker could get now."""
        return Walk._make(self.walk_tuple(side, quantity, price))

    def order(self, order_number: int) -> Resting | None:
        """One live order, or None."""
        record = self.order_record(order_number)
        return None if record is None else decode_resting(record)

    def live_orders(self) -> list[Resting]:
        """All live orders in ascending priority."""
        records = memoryview(self.order_records())
        return [
            decode_resting(records[at : at + ORDER_RECORD_SIZE]) for at in range(0, len(records), ORDER_RECORD_SIZE)
        ]

    def memory(self) -> MarketMemory:
        """What is remembered beside the orders."""
        return decode_memory(self.memory_record())

    def restore(self, memory: MarketMemory, orders: list[Resting]) -> None:
        """Fill an empty book."""
        self.restore_records(encode_memory(memory), b"".join(map(encode_resting, orders)))

    def dump(self) -> bytes:
        """All that the book remembers, as a snapshot."""
        return seal_snapshot(self.market_id, self.memory_record(), self.order_records())

    def load(self, snapshot: bytes) -> None:
        """Fill an empty book from a snapshot."""
        self.restore_records(*open_snapshot(self.market_id, snapshot))

    def check(self) -> None:
        """Verify every invariant."""
        problem = self.problem()
        if problem:
            raise AssertionError(problem)
