"""The orders that ended last, as they were committed: whoever cancels or amends one of them need not ask the database.

An order that has ended never changes again, so what is here is true however old it is.
"""

from typing import Final

from trade_engine.domain.orders import Order
from trade_engine.sequencer.publish import CommittedBatch

#: So many are remembered; one is about a kilobyte.
_ENDED_MAX: Final = 16_384


class EndedOrders:
    """Keeps so many, those that ended last; a listener of the publisher's."""

    def __init__(self, most: int = _ENDED_MAX) -> None:
        self._most = most
        #: By order id, the one that ended first first.
        self._orders: dict[str, Order] = {}

    def find(self, order_id: str) -> Order | None:
        """An order that ended lately."""
        return self._orders.get(order_id)

    def committed(self, batch: CommittedBatch) -> None:
        """Remember those that the batch ended."""
        orders = self._orders
        for order in batch.orders:
            if not order.status.is_open:
                orders[order.order_id] = order
        while len(orders) > self._most:
            del orders[next(iter(orders))]

    def rebuilt(self) -> None:
        """What has ended stays so."""
