"""Trace context (W3C, version 00) that follows from an order's id: whoever knows the order knows its trace (ADR 28).

So the relay, which tells of an order from the journal whenever it may, names the trace that the request made, and
nothing has to be kept or carried from one to the other.
"""

from hashlib import blake2b
from typing import Final, NamedTuple

_SHARES: Final = 1 << 32


class TraceContext(NamedTuple):
    """A trace, its first span, and whether it is recorded."""

    trace_id: int
    span_id: int
    sampled: bool

    @property
    def traceparent(self) -> str:
        """As the header ``traceparent`` has it, 55 characters."""
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-{self.sampled:02x}"


def trace_context(order_id: str, ratio: float) -> TraceContext:
    """The trace of an order: its id is the order's, without dashes.

    Args:
        order_id: a canonical UUID.
        ratio: the share of orders whose trace is recorded.
    """
    digest = blake2b(order_id.encode(), digest_size=12).digest()
    span_id = int.from_bytes(digest[:8], "big") or 1
    sampled = int.from_bytes(digest[8:], "big") < ratio * _SHARES
    return TraceContext(int(order_id.replace("-", ""), 16), span_id, sampled)
