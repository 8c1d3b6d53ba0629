"""Trading as callers see it (``ports.Trading``): admission, amending and the sequencer behind plain methods."""

import asyncio
from typing import Final

from trade_engine.domain.enums import OrderStatus, Reason
from trade_engine.domain.errors import EngineError, InvalidRequest, NotFound, OutcomeUnknown, Refused, Unavailable
from trade_engine.domain.market import Market
from trade_engine.domain.orders import Order, PlaceOrder, PlacePair, pair_of
from trade_engine.sequencer.admission import Admission, AlreadyPlaced
from trade_engine.sequencer.amending import Amender, amended_or_refused, not_amendable
from trade_engine.sequencer.clock import Clock
from trade_engine.sequencer.ended_orders import EndedOrders
from trade_engine.sequencer.engine_request import CancelAllRequest, CancelRequest
from trade_engine.sequencer.pipeline import Sequencer
from trade_engine.sequencer.ports import Amendment, Placed, PlacedPair
from trade_engine.sequencer.store.port import Store, StoreError, Unstorable

#: Orders a mass cancel ends in one command, so that no transaction is unbounded.
_MASS_CHUNK: Final = 256


class EngineTrading:
    """Keeps ``ports.Trading``.

    Args:
        answer_within_s: a mass cancel, which takes many commits, has so long.
        ended: looked at before the database is asked.
    """

    def __init__(
        self,
        sequencer: Sequencer,
        admission: Admission,
        amender: Amender,
        store: Store,
        clock: Clock,
        answer_within_s: float,
        ended: EndedOrders,
    ) -> None:
        self._sequencer = sequencer
        self._admission = admission
        self._amender = amender
        self._store = store
        self._clock = clock
        self._answer_within_s = answer_within_s
        self._ended = ended

    async def place(self, request: PlaceOrder) -> Placed:
        """Reserve, match and commit an order."""
        try:
            outcome = await self._admission.place(request)
        except AlreadyPlaced as earlier:
            return await self._replayed(earlier.order_id)
        order = outcome.order
        if order is None:
            raise _unknown()
        if order.status is OrderStatus.REJECTED:
            raise _refusal(order)
        return Placed(order, outcome.trades, fills=outcome.fills)

    async def place_pair(self, request: PlacePair) -> PlacedPair:
        """Place both legs of a pair."""
        try:
            placing = await self._admission.place_pair(request)
        except AlreadyPlaced as earlier:
            try:
                return (await self.pair(earlier.order_id, request.legs[0].user_id))._replace(replayed=True)
            except NotFound:
                raise Refused(
                    "DUPLICATE_ORDER_ID", "the client order id of a leg is that of an order that is in no pair",
                    field="client_order_id", order_id=earlier.order_id,
                ) from earlier  # fmt: skip
        if placing.legs is None:
            raise _refusal(placing.refused) if placing.refused is not None else _unknown()
        return PlacedPair(pair_of(placing.legs[1]), placing.legs)

    async def pair(self, order_id: str, user_id: str | None) -> PlacedPair:
        """The pair of an order."""
        try:
            found = await self._store.find_pair(order_id)
        except Unstorable:
            found = None
        except StoreError as error:
            raise _away() from error
        if found is None or (user_id is not None and found.user_id != user_id):
            raise NotFound("ORDER_NOT_FOUND", "there is no such pair", field="order_id", provided=order_id)
        first, second = [await self.order(leg, None) for leg in (found.first_order_id, found.second_order_id)]
        return PlacedPair(found, (first, second))

    async def _replayed(self, order_id: str) -> Placed:
        order = await self._stored(order_id)
        if order is None:
            raise _unknown()
        if order.status is OrderStatus.REJECTED:
            raise _refusal(order)
        try:
            trades = await self._store.trades_of_taker(order)
        except StoreError as error:
            raise _away() from error
        return Placed(order, trades, replayed=True)

    async def cancel(self, order_id: str, user_id: str | None) -> Order:
        """End an order."""
        reason = Reason.USER_REQUEST if user_id is not None else Reason.ADMIN_REQUEST
        request = CancelRequest(order_id, user_id, reason)
        self._sequencer.submit([request])
        outcome = await request.done
        if outcome is not None and outcome.order is not None and not outcome.refusal:
            return outcome.order
        order = await self.order(order_id, user_id)
        if order.status is OrderStatus.CANCELLED:
            return order
        if outcome is not None and outcome.refusal in (Reason.MARKET_HALTED, Reason.MARKET_CLOSED):
            raise Refused(outcome.refusal.name, "the market takes no cancels now", order_id=order_id)
        raise Refused(
            "ORDER_NOT_CANCELLABLE",
            f"the order is {order.status.name}",
            field="order_id",
            provided=order_id,
            status=order.status.name,
        )

    async def cancel_numbered(self, number: int, user_id: str, market_id: int) -> Order:
        """End a live order by its number."""
        order = self._sequencer.memory.live.by_sequence.get(number)
        if order is None or order.user_id != user_id or order.market_id != market_id:
            raise NotFound("ORDER_NOT_FOUND", "there is no such live order", field="order_id", provided=number)
        return await self.cancel(order.order_id, user_id)

    async def amend(self, order_id: str, user_id: str | None, change: Amendment) -> Placed:
        """Change an order."""
        memory = self._sequencer.memory
        self._clock.require()
        order = memory.live.by_id.get(order_id)
        if order is None or (user_id is not None and order.user_id != user_id):
            raise not_amendable(await self.order(order_id, user_id))
        outcome = await self._amender.amend(order, user_id, change)
        if outcome is None:
            raise not_amendable(await self.order(order_id, user_id))
        return Placed(amended_or_refused(order_id, outcome), outcome.trades, fills=outcome.fills)

    async def cancel_all(self, user_id: str | None, symbol: str | None) -> int:
        """End all orders of a user."""
        memory = self._sequencer.memory
        user = 0 if user_id is None else memory.traders.get(user_id)
        if user is None:
            return 0
        market = memory.market(symbol) if symbol is not None else None
        if symbol is not None and market is None:
            raise InvalidRequest("INVALID_SYMBOL", "there is no such market", field="symbol", provided=symbol)
        markets = [market] if market is not None else list(memory.markets.values())
        reason = Reason.MASS_CANCEL if user_id is not None else Reason.ADMIN_REQUEST
        ended = 0
        try:
            async with asyncio.timeout(self._answer_within_s):
                for market in markets:
                    ended += await self._cancel_market(market, user, reason)
        except TimeoutError as error:
            raise OutcomeUnknown(
                "OUTCOME_UNKNOWN", f"{ended} orders were cancelled when time was up: repeat the request"
            ) from error
        return ended

    async def _cancel_market(self, market: Market, user: int, reason: Reason) -> int:
        ended = 0
        while True:
            request = CancelAllRequest(market.market_id, user, reason, _MASS_CHUNK)
            self._sequencer.submit([request])
            outcome = await request.done
            count = outcome.ended if outcome else 0
            ended += count
            if count < _MASS_CHUNK:
                return ended

    async def order(self, order_id: str, user_id: str | None) -> Order:
        """One committed order."""
        order = self._ended.find(order_id) or await self._stored(order_id)
        if order is None or (user_id is not None and order.user_id != user_id):
            raise NotFound("ORDER_NOT_FOUND", "there is no such order", field="order_id", provided=order_id)
        return order

    async def order_id_of(self, client_order_id: str, user_id: str) -> str:
        """The id of the order that a user placed with a client order id."""
        key = (user_id, client_order_id)
        try:
            found = (await self._store.find_client_orders([key])).get(key)
        except Unstorable:
            found = None
        except StoreError as error:
            raise _away() from error
        if found is None:
            raise NotFound("ORDER_NOT_FOUND", "there is no such order", field="order_id", provided=client_order_id)
        return found

    async def _stored(self, order_id: str) -> Order | None:
        try:
            return await self._store.find_order(order_id)
        except Unstorable:
            return None
        except StoreError as error:
            raise _away() from error

    def is_live(self, order_id: str) -> bool:
        """Whether a committed order can still trade."""
        return order_id in self._sequencer.memory.live.by_id


def _away() -> Unavailable:
    return Unavailable("DATABASE_UNAVAILABLE", "the database does not answer, try again")


def _unknown() -> OutcomeUnknown:
    return OutcomeUnknown("OUTCOME_UNKNOWN", "repeat the request with the same client_order_id")


def _refusal(order: Order) -> EngineError:
    return Refused(
        order.reason.name,
        f"the market refused the order: {order.reason.name.lower().replace('_', ' ')}",
        order_id=order.order_id,
        client_order_id=order.client_order_id,
    )
