"""Admission: from a request to an order that the sequencer may take, its funds reserved.

Requests that wait together share one look-up of their client order ids and one reserve call.  Cancels never come
this way, so a slow wallet does not delay them.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

import asyncpg
import structlog

from trade_engine.domain.commands import OrderFlag
from trade_engine.domain.enums import FeeAsset, OrderType, Reason, Side, TimeInForce
from trade_engine.domain.errors import EngineError, InvalidRequest, Refused, Unavailable
from trade_engine.domain.fees import initial_hold
from trade_engine.domain.market import Market
from trade_engine.domain.orders import Order, PlaceOrder
from trade_engine.domain.rules import check_order
from trade_engine.domain.scale import MAX_UNITS, UNIT, format_units
from trade_engine.matching.protocol import Book
from trade_engine.sequencer.bookkeeping import Instruction, Outcome
from trade_engine.sequencer.clock import Clock
from trade_engine.sequencer.failpoints import FailpointError, Failpoints
from trade_engine.sequencer.pipeline import Sequencer
from trade_engine.sequencer.work import place_work, release_work
from trade_engine.storage.order_rows import find_client_orders
from trade_engine.storage.types import Pool
from trade_engine.wallet.port import Outcome as WalletOutcome
from trade_engine.wallet.port import Reserve, Wallet, WalletUnavailable

log = structlog.get_logger(__name__)

_MICRO_BATCH: Final = 128
_DAY_US: Final = 24 * 3600 * 1_000_000


class Replay(Exception):
    """The client order id is taken: by this order."""

    def __init__(self, order_id: str) -> None:
        super().__init__(order_id)
        self.order_id = order_id


class Ticket:
    """A checked request on its way to the sequencer; ``done`` ends as the sequencer's outcome, or Replay."""

    __slots__ = ("asset", "done", "market", "order", "request")

    def __init__(self, request: PlaceOrder, market: Market, done: "asyncio.Future[Outcome]") -> None:
        self.request = request
        self.market = market
        self.done = done
        self.order: Order | None = None
        self.asset = ""


class Admission:
    """Admits orders in micro-batches.

    Args:
        with_cancels: let the sequencer wait a moment for orders that are being admitted before it commits cancels
            alone, so that batches stay large; off for a wallet of its own, which may be slow.
        queue: how many requests may wait; one more is refused with 503.
        session_end_us: when a day ends, in microseconds after 00:00 UTC.
        longest_life_us: no order lives longer.
        wallet_is_out: whether the wallet is known to be away: orders are then refused at once.
    """

    def __init__(
        self,
        sequencer: Sequencer,
        wallet: Wallet,
        pool: Pool,
        clock: Clock,
        failpoints: Failpoints,
        epoch: Callable[[], int],
        *,
        with_cancels: bool = True,
        queue: int = 10_000,
        session_end_us: int = 0,
        longest_life_us: int = 180 * _DAY_US,
        wallet_is_out: Callable[[], bool] = lambda: False,
    ) -> None:
        self._wallet_is_out = wallet_is_out
        self._session_end_us = session_end_us
        self._longest_life_us = longest_life_us
        self._sequencer = sequencer
        self._wallet = wallet
        self._pool = pool
        self._clock = clock
        self._failpoints = failpoints
        self._epoch = epoch
        self._with_cancels = with_cancels
        self._limit = queue
        self._waiting: deque[Ticket] = deque()
        self._wake = asyncio.Event()
        self._in_flight: dict[tuple[str, str], asyncio.Future[Outcome]] = {}
        self._stopped = False

    async def place(self, request: PlaceOrder) -> Outcome:
        """Admit one order and wait for its outcome.

        Raises:
            Replay: the client order id names an earlier order, which has been committed.
            EngineError: refused, or something it needs is away.
        """
        memory = self._sequencer.memory
        market = memory.by_symbol.get(request.symbol)
        if market is None:
            raise InvalidRequest("INVALID_SYMBOL", "there is no such market", field="symbol", provided=request.symbol)
        check_order(request, market)
        if self._stopped:
            raise _stopping()
        if len(self._waiting) >= self._limit:
            raise Unavailable("ENGINE_OVERLOADED", "too many orders wait, try again shortly")
        if request.client_order_id is None:
            if self._wallet_is_out():
                raise Unavailable("WALLET_UNAVAILABLE", "the wallet does not answer, nothing was placed")
            return await self._enqueue(request, market)
        key = (request.user_id, request.client_order_id)
        first = self._in_flight.get(key)
        if first is not None:
            outcome = await asyncio.shield(first)
            raise Replay(outcome.order.order_id if outcome.order else "")
        done = self._in_flight[key] = asyncio.get_running_loop().create_future()
        done.add_done_callback(lambda _: self._in_flight.pop(key, None))
        return await self._enqueue(request, market, done)

    async def _enqueue(
        self, request: PlaceOrder, market: Market, done: "asyncio.Future[Outcome] | None" = None
    ) -> Outcome:
        ticket = Ticket(request, market, done or asyncio.get_running_loop().create_future())
        self._waiting.append(ticket)
        self._wake.set()
        return await asyncio.shield(ticket.done)

    async def run(self) -> None:
        """Admit micro-batches until cancelled."""
        while True:
            await self._wake.wait()
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), _MICRO_BATCH))]
            if not self._waiting:
                self._wake.clear()
            if self._with_cancels:
                self._sequencer.begin_admission()
            try:
                await self._admit(batch)
            except EngineError as error:
                _fail(batch, error)
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, FailpointError) as error:
                log.warning("admission failed", error=repr(error))
                _fail(batch, Unavailable("DATABASE_UNAVAILABLE", "the database does not answer, nothing was done"))
            except asyncio.CancelledError:
                # It waited for the wallet or the database: nothing was handed to the writer yet.
                _fail(batch, _stopping())
                raise
            except Exception as error:
                log.exception("admission broke down")
                _fail(batch, error)
            finally:
                if self._with_cancels:
                    self._sequencer.end_admission()

    def stop(self) -> None:
        """Refuse what waits and whatever comes; ``run`` is cancelled by its owner."""
        self._stopped = True
        waiting, self._waiting = list(self._waiting), deque()
        _fail(waiting, _stopping())

    async def _admit(self, batch: list[Ticket]) -> None:
        batch = await self._drop_replays(batch)
        await self._number_traders(batch)
        reserves: list[Reserve] = []
        ready: list[Ticket] = []
        for ticket in batch:
            try:
                order = self._order(ticket)
            except EngineError as error:
                _fail([ticket], error)
                continue
            ready.append(ticket)
            if order.reserved:
                reserves.append(Reserve(order.user_id, ticket.asset, order.reserved, order.order_id, order.order_id))
        await self._failpoints.reach("before_reserve")
        refused = await self._reserve(ready, reserves)
        accepted = [ticket for ticket in ready if ticket.order and ticket.order.order_id not in refused]
        works = [place_work(ticket.order) for ticket in accepted if ticket.order]
        try:
            await self._failpoints.reach("after_reserve")
            self._sequencer.submit(works)
        except (Unavailable, FailpointError):
            self._later_release(accepted)
            raise
        for ticket, work in zip(accepted, works, strict=True):
            work.done.add_done_callback(_handing_on(ticket.done))

    async def _drop_replays(self, batch: list[Ticket]) -> list[Ticket]:
        keys = [(t.request.user_id, t.request.client_order_id) for t in batch if t.request.client_order_id]
        if not keys:
            return batch
        taken = await find_client_orders(self._pool, keys)
        rest = []
        for ticket in batch:
            order_id = taken.get((ticket.request.user_id, ticket.request.client_order_id or ""))
            if order_id is None:
                rest.append(ticket)
            else:
                _fail([ticket], Replay(order_id))
        return rest

    async def _number_traders(self, batch: list[Ticket]) -> None:
        """Give users who trade for the first time their number in the core."""
        traders = self._sequencer.memory.traders
        new = sorted({t.request.user_id for t in batch if t.request.user_id not in traders})
        if new:
            rows = await self._pool.fetch(
                "WITH new AS (INSERT INTO traders (user_id) SELECT unnest($1::UUID[]) ON CONFLICT DO NOTHING"
                " RETURNING user_id, trader_number) SELECT user_id::TEXT, trader_number FROM new UNION"
                " SELECT user_id::TEXT, trader_number FROM traders WHERE user_id = ANY ($1::UUID[])",
                new,
            )
            traders.update((row[0], row[1]) for row in rows)

    def _order(self, ticket: Ticket) -> Order:
        request, market = ticket.request, ticket.market
        memory = self._sequencer.memory
        ticket.asset = market.base if request.side is Side.SELL else market.quote
        flags, max_notional, reserved = funds_needed(request, market, memory.books.book(market.market_id))
        if reserved > MAX_UNITS * 2:
            raise InvalidRequest("INVALID_QUANTITY", "the order's cost is too large", field="quantity")
        order = ticket.order = Order(
            order_id=self._clock.order_id(),
            sequence=0,
            user_id=request.user_id,
            user=memory.traders[request.user_id],
            market_id=market.market_id,
            side=request.side,
            type=request.type,
            time_in_force=request.time_in_force,
            stp=request.stp,
            flags=flags | (OrderFlag.POST_ONLY if request.post_only else 0),
            client_order_id=request.client_order_id,
            institution_id=request.institution_id,
            price=request.price,
            quantity=request.quantity,
            stop_price=request.stop_price,
            display=request.display_quantity,
            max_notional=max_notional,
            expires_us=self._expiry(request),
            maker_fee=market.maker_fee,
            taker_fee=market.taker_fee,
            fee_asset=market.fee_asset,
            reserved=reserved,
            hold=reserved,
        )
        return order

    def _expiry(self, request: PlaceOrder) -> int:
        """When the order ends at the latest: the session's end, the wished time, or the longest life (SPEC 3.4)."""
        now = self._clock.now_us()
        longest = now + self._longest_life_us
        if request.time_in_force is TimeInForce.DAY:
            return now - (now - self._session_end_us) % _DAY_US + _DAY_US
        if request.time_in_force is TimeInForce.GTD:
            if request.expires_us <= now:
                given = request.expires_us
                raise InvalidRequest("INVALID_EXPIRY", "expires_at is over", field="expires_at", provided=given)
            return min(request.expires_us, longest)
        rests = request.time_in_force is TimeInForce.GTC and request.type is not OrderType.MARKET
        return longest if rests else 0

    async def _reserve(self, tickets: list[Ticket], reserves: list[Reserve]) -> set[str]:
        """Reserve for all; the ids of the orders that were refused (their callers have been told)."""
        if not reserves:
            return set()
        try:
            outcomes = await self._wallet.reserve_many(reserves, self._epoch())
        except WalletUnavailable as error:
            if error.sent:
                self._later_release(tickets)
            raise Unavailable("WALLET_UNAVAILABLE", "the wallet does not answer, nothing was placed") from error
        refused = {
            r.order_id: wallet_refusal(r, outcome)
            for r, outcome in zip(reserves, outcomes, strict=True)
            if not outcome.ok
        }
        for ticket in tickets:
            if ticket.order and (refusal := refused.get(ticket.order.order_id)):
                _fail([ticket], refusal)
        return set(refused)

    def _later_release(self, tickets: list[Ticket]) -> None:
        """Have whatever these orders may have reserved released with the next commit; a restart would, too."""
        releases = [
            Instruction("RELEASE", None, t.order.order_id, t.order.user_id, t.asset, None, "never placed")
            for t in tickets
            if t.order and t.order.reserved
        ]
        try:
            self._sequencer.submit([release_work(releases)] if releases else [])
        except Unavailable:
            log.warning("reservations are left for recovery to release", orders=len(releases))


def funds_needed(request: PlaceOrder, market: Market, book: Book) -> tuple[int, int, int]:
    """What an order must reserve now (SPEC 4.4): (order flags, limit of its notional, reserve), units of 1e-8.

    A market BUY reserves what walking the book now would cost, fee included, and may never spend more.
    """
    rate = market.highest_rate
    if request.side is Side.SELL:
        return 0, 0, request.quantity
    if request.quote_amount:
        paid_apart = rate if market.fee_asset is FeeAsset.QUOTE else 0
        notional = request.quote_amount * UNIT // (UNIT + paid_apart)
        notional -= notional % market.notional_unit
        return OrderFlag.LIMITED_NOTIONAL | OrderFlag.QUOTE_AMOUNT, notional, request.quote_amount
    lots = request.quantity // market.lot_size
    if request.type is OrderType.MARKET:
        notional = book.walk(Side.BUY, lots).notional * market.notional_unit
        flags = OrderFlag.LIMITED_NOTIONAL
    elif request.type is OrderType.STOP:
        slippage = market.max_slippage_ppm
        notional = request.stop_price // market.tick_size * lots * market.notional_unit
        notional += -(-notional * slippage // 1_000_000)
        notional += -notional % market.notional_unit
        flags = OrderFlag.LIMITED_NOTIONAL
    else:
        notional = request.price // market.tick_size * lots * market.notional_unit
        return 0, 0, initial_hold(request.side, request.quantity, notional, rate, market.fee_asset)
    return flags, notional, initial_hold(request.side, request.quantity, notional, rate, market.fee_asset)


def wallet_refusal(reserve: Reserve, outcome: WalletOutcome) -> EngineError:
    """What the wallet's refusal means to the one who placed or amended the order."""
    if outcome.code == "STALE_EPOCH":
        return Unavailable("ENGINE_UNAVAILABLE", "another engine took over, nothing was done")
    unfunded = outcome.code in ("INSUFFICIENT_BALANCE", "USER_NOT_FOUND")
    return Refused(
        "INSUFFICIENT_BALANCE" if unfunded else outcome.code,
        "the available balance does not cover the order and its fee" if unfunded else outcome.message,
        field="quantity",
        asset=reserve.asset,
        required=format_units(reserve.amount),
        available=format_units(outcome.available),
    )


def _stopping() -> Unavailable:
    return Unavailable("ENGINE_UNAVAILABLE", "the engine stops, nothing was placed")


def _fail(tickets: list[Ticket], error: BaseException) -> None:
    for ticket in tickets:
        if not ticket.done.done():
            ticket.done.set_exception(error)


def _handing_on(target: "asyncio.Future[Outcome]") -> Callable[["asyncio.Future[Outcome | None]"], None]:
    """Carries the sequencer's answer over to the ticket."""

    def hand_on(source: "asyncio.Future[Outcome | None]") -> None:
        if target.done():
            return
        error = source.exception()
        if error is not None:
            target.set_exception(error)
        else:
            target.set_result(source.result() or Outcome(None, [], Reason.NONE))

    return hand_on
