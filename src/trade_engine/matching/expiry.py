"""When orders fall due: a heap of (time, order number) from which ended orders vanish lazily.

The heap never grows beyond twice the live entries (and a small constant): it is rebuilt when it would.
"""

from collections.abc import Mapping
from heapq import heapify, heappop, heappush
from typing import Final

from trade_engine.matching.ladder import BookOrder

_SLACK: Final = 64


class ExpiryQueue:
    """The orders of one book that have an expiry, soonest first, then by order number."""

    __slots__ = ("_heap", "_orders")

    def __init__(self, orders: Mapping[int, BookOrder]) -> None:
        self._orders = orders
        self._heap: list[tuple[int, int]] = []

    def add(self, order: BookOrder) -> None:
        """Remember when an order falls due, if it does."""
        if not order.expires_us:
            return
        if len(self._heap) > 2 * len(self._orders) + _SLACK:
            self._heap = [(o.expires_us, o.order_number) for o in self._orders.values() if o.expires_us]
            heapify(self._heap)
        heappush(self._heap, (order.expires_us, order.order_number))

    def __bool__(self) -> bool:
        """Whether anything may fall due at all."""
        return bool(self._heap)

    def first(self) -> BookOrder | None:
        """The order that falls due next, or None."""
        while self._heap:
            expires_us, order_number = self._heap[0]
            order = self._orders.get(order_number)
            if order is not None and order.expires_us == expires_us:
                return order
            heappop(self._heap)
        return None
