"""Admission: from a request to an order that the sequencer may take, its funds reserved.

Requests that wait together share one look-up of their client order ids and one reserve call.  Cancels never come
this way, so a slow wallet does not delay them.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable
from typing import Final

import structlog

from trade_engine.domain.enums import OrderType, TimeInForce
from trade_engine.domain.errors import EngineError, InvalidRequest, OutcomeUnknown, Refused, Unavailable
from trade_engine.domain.market import Market
from trade_engine.domain.orders import Order, PlaceOrder, PlacePair
from trade_engine.domain.rules import check_order
from trade_engine.domain.scale import format_units
from trade_engine.sequencer.batch import releases_of
from trade_engine.sequencer.bookkeeping import CommandOutcome
from trade_engine.sequencer.clock import Clock
from trade_engine.sequencer.engine_request import PlaceRequest
from trade_engine.sequencer.failpoints import FailpointError, Failpoints
from trade_engine.sequencer.new_order import new_order
from trade_engine.sequencer.pair_request import PairRequest, check_pair
from trade_engine.sequencer.pipeline import Sequencer
from trade_engine.sequencer.store.port import Store, StoreError, Unstorable
from trade_engine.wallet.port import Outcome, Reserve, Wallet, WalletUnavailable

log = structlog.get_logger(__name__)

_MICRO_BATCH: Final = 128
#: The loop comes round at least so often, and says that it lives.
_TURN_S: Final = 1.0
DAY_US: Final = 24 * 3600 * 1_000_000


class AlreadyPlaced(Exception):
    """The client order id is taken: by this order."""

    def __init__(self, order_id: str) -> None:
        super().__init__(order_id)
        self.order_id = order_id


class Admission:
    """Admits orders in micro-batches.

    Args:
        with_cancels: let the sequencer wait a moment for orders that are being admitted before it commits cancels
            alone, so that batches stay large; off for a wallet of its own, which may be slow.
        queue: how many requests may wait; one more is refused with 503.
        session_end_us: when a day ends, in microseconds after 00:00 UTC.
        longest_life_us: no order lives longer.
        on_stale: told when the wallet refuses this engine's epoch.
        wallet_is_out: whether the wallet is known to be away: orders are then refused at once.
    """

    def __init__(
        self,
        sequencer: Sequencer,
        wallet: Wallet,
        store: Store,
        clock: Clock,
        failpoints: Failpoints,
        *,
        with_cancels: bool = True,
        queue: int = 10_000,
        session_end_us: int = 0,
        longest_life_us: int = 180 * DAY_US,
        wallet_is_out: Callable[[], bool] = lambda: False,
        on_stale: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._on_stale = on_stale
        self._wallet_is_out = wallet_is_out
        self._session_end_us = session_end_us
        self._longest_life_us = longest_life_us
        self._sequencer = sequencer
        self._wallet = wallet
        self._store = store
        self._clock = clock
        self._failpoints = failpoints
        self._with_cancels = with_cancels
        self._limit = queue
        self._waiting: deque[PlaceRequest] = deque()
        self._wake = asyncio.Event()
        self._in_flight: dict[tuple[str, str], PlaceRequest] = {}
        self._admitting: list[PlaceRequest] = []
        self._stopped = False
        #: Called at each turn of the loop.
        self.beat: Callable[[], None] = lambda: None

    async def place(self, request: PlaceOrder) -> CommandOutcome:
        """Admit one order and wait for its outcome.

        Raises:
            AlreadyPlaced: the client order id names an earlier order, which has been committed.
            EngineError: refused, or something it needs is away.
        """
        market = self._market(request.symbol)
        check_order(request, market)
        return _answer(await self._admitted(PlaceRequest(request, market)))

    async def place_pair(self, pair: PlacePair) -> PairRequest:
        """Admit a pair and wait for what becomes of it; the request, carried out.

        Raises:
            AlreadyPlaced: the client order id of a leg names an earlier order, which has been committed.
            EngineError: refused, or something it needs is away.
        """
        market = self._market(pair.legs[0].symbol)
        check_pair(pair, market)
        placing = PairRequest(pair, market)
        outcome = await self._admitted(placing)
        if placing.problem is not None:
            raise placing.problem
        _answer(outcome)
        return placing

    def _market(self, symbol: str) -> Market:
        market = self._sequencer.memory.market(symbol)
        if market is None:
            raise InvalidRequest("INVALID_SYMBOL", "there is no such market", field="symbol", provided=symbol)
        return market

    async def _admitted(self, placing: PlaceRequest) -> CommandOutcome | None:
        self._clock.require()
        if self._stopped:
            raise _stopping()
        if len(self._waiting) >= self._limit:
            raise Unavailable("ENGINE_OVERLOADED", "too many orders wait, try again shortly")
        keys = placing.client_keys
        if not keys:
            if self._wallet_is_out():
                raise Unavailable("WALLET_UNAVAILABLE", "the wallet does not answer, nothing was placed")
            return await self._enqueue(placing).done
        for key in keys:
            first = self._in_flight.get(key)
            if first is not None:
                order = _answer(await asyncio.shield(first.done)).order
                raise AlreadyPlaced(order.order_id if order else "")
        for key in keys:
            self._in_flight[key] = placing
        placing.done.add_done_callback(lambda _: self._landed(keys))
        # Others may wait for the same answer: a caller who leaves must not take it from them.
        return await asyncio.shield(self._enqueue(placing).done)

    def _landed(self, keys: list[tuple[str, str]]) -> None:
        for key in keys:
            self._in_flight.pop(key, None)

    @property
    def waiting(self) -> int:
        """Orders that wait, or are being admitted."""
        return len(self._waiting) + len(self._admitting)

    def _enqueue(self, placing: PlaceRequest) -> PlaceRequest:
        self._waiting.append(placing)
        self._wake.set()
        return placing

    async def run(self) -> None:
        """Admit micro-batches until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), _TURN_S)
            self.beat()
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), _MICRO_BATCH))]
            if not self._waiting:
                self._wake.clear()
            if batch:
                await self._admit_or_refuse(batch)

    async def _admit_or_refuse(self, batch: list[PlaceRequest]) -> None:
        """Admit a micro-batch; whatever happens, each of it hears of it."""
        self._admitting = batch
        if self._with_cancels:
            self._sequencer.queue.begin_admission()
        try:
            await self._admit(batch)
        except EngineError as error:
            _fail(batch, error)
        except (StoreError, FailpointError) as error:
            log.warning("admission_failed", error=repr(error))
            _fail(batch, Unavailable("DATABASE_UNAVAILABLE", "the database does not answer, nothing was done"))
        except asyncio.CancelledError:
            # It waited for the wallet or the database: nothing was handed to the writer yet.
            self._give_back(batch)
            _fail(batch, _stopping())
            raise
        except Exception as error:
            log.exception("admission_broke_down")
            self._give_back(batch)
            _fail(batch, error)
        finally:
            self._admitting = []
            if self._with_cancels:
                self._sequencer.queue.end_admission()

    def stop(self) -> None:
        """Refuse what waits and whatever comes; ``run`` is cancelled by its owner."""
        self._stopped = True
        waiting, self._waiting = list(self._waiting), deque()
        _fail(waiting, _stopping())

    def answer_late(self, within_s: float) -> None:
        """Refuse what has waited for longer; it is not placed any more."""
        late_s = asyncio.get_running_loop().time() - within_s
        late = [placing for placing in self._admitting if placing.submitted_s < late_s]
        while self._waiting and self._waiting[0].submitted_s < late_s:
            late.append(self._waiting.popleft())
        if late:
            _fail(late, Unavailable("ENGINE_OVERLOADED", "the order waited too long, nothing was placed"))

    def orders_under_way(self) -> set[str]:
        """The orders that are being admitted at this moment."""
        return {placing.order.order_id for placing in self._admitting if placing.order is not None}

    async def _admit(self, batch: list[PlaceRequest]) -> None:
        batch = await self._drop_replays(batch)
        await self._number_traders(batch)
        reserves: list[Reserve] = []
        ready: list[PlaceRequest] = []
        for placing in batch:
            try:
                order = self._admit_one(placing)
            except EngineError as error:
                _fail([placing], error)
                continue
            ready.append(placing)
            if order.reserved:
                reserves.append(Reserve(order.user_id, placing.asset, order.reserved, order.order_id, order.order_id))
        await self._failpoints.reach("before_reserve")
        refused = await self._reserve(ready, reserves) if reserves else {}
        accepted = []
        for placing in ready:
            refusal = refused.get(placing.order.order_id) if placing.order else None
            if refusal is None:
                accepted.append(placing)
            else:
                _fail([placing], refusal)
        try:
            await self._failpoints.reach("after_reserve")
            self._submit(accepted)
        except (Unavailable, FailpointError):
            self._give_back(accepted)
            raise

    def _submit(self, accepted: list[PlaceRequest]) -> None:
        """Hand orders to the writer, but for those whose callers were told meanwhile that time is up."""
        late = [placing for placing in accepted if placing.done.done()]
        if late:
            self._give_back(late)
            accepted = [placing for placing in accepted if placing not in late]
        self._sequencer.submit(accepted)

    async def _drop_replays(self, batch: list[PlaceRequest]) -> list[PlaceRequest]:
        keys = [key for placing in batch for key in placing.client_keys]
        if not keys:
            return batch
        try:
            taken = await self._store.find_client_orders(keys)
        except Unstorable:
            return await self._drop_unstorable(batch)
        rest = []
        for placing in batch:
            found = {key[1]: taken[key] for key in placing.client_keys if key in taken}
            order_id = next((held for held in found.values() if not self._may_go(placing.request, held)), None)
            if order_id is None:
                placing.reused = frozenset(found)
                rest.append(placing)
            else:
                _fail([placing], AlreadyPlaced(order_id))
        return rest

    def _may_go(self, request: PlaceOrder, order_id: str) -> bool:
        """Whether a request may have the client order id of an earlier order."""
        return request.may_reuse_id and order_id not in self._sequencer.memory.live.by_id

    async def _drop_unstorable(self, batch: list[PlaceRequest]) -> list[PlaceRequest]:
        """One client order id is no text that can be looked for: each is looked for alone."""
        if len(batch) > 1:
            return [placing for one in batch for placing in await self._drop_replays([one])]
        given = batch[0].request.client_order_id
        _fail(
            batch,
            InvalidRequest(
                "INVALID_CLIENT_ORDER_ID",
                "the client order id is no text",
                field="client_order_id",
                provided=repr(given),
            ),
        )
        return []

    async def _number_traders(self, batch: list[PlaceRequest]) -> None:
        """Give users who trade for the first time their number in the core."""
        traders = self._sequencer.memory.traders
        new = sorted({p.request.user_id for p in batch if p.request.user_id not in traders})
        if new:
            traders.update(await self._store.number_traders(new))

    def _admit_one(self, placing: PlaceRequest) -> Order:
        market, memory = placing.market, self._sequencer.memory
        book = memory.books.book(market.market_id)
        user = memory.traders[placing.request.user_id]

        def admitted(request: PlaceOrder) -> Order:
            expires_us = self._expiry(request)
            order = new_order(request, market, book, order_id=self._clock.order_id(), user=user, expires_us=expires_us)
            order.reuses_id = request.client_order_id in placing.reused
            return order

        return placing.admit(admitted)

    def _expiry(self, request: PlaceOrder) -> int:
        """When the order ends at the latest: the session's end, the given time, or the longest life (SPEC 3.4)."""
        now = self._clock.now_us()
        longest = now + self._longest_life_us
        if request.time_in_force is TimeInForce.DAY:
            return now - (now - self._session_end_us) % DAY_US + DAY_US
        if request.time_in_force is TimeInForce.GTD:
            if request.expires_us <= now:
                given = request.expires_us
                raise InvalidRequest("INVALID_EXPIRY", "expires_at is over", field="expires_at", provided=given)
            return min(request.expires_us, longest)
        rests = request.time_in_force is TimeInForce.GTC and request.type is not OrderType.MARKET
        return longest if rests else 0

    async def _reserve(self, batch: list[PlaceRequest], reserves: list[Reserve]) -> dict[str, EngineError]:
        """Reserve for all; the refusals by order id."""
        try:
            outcomes = await self._wallet.reserve_many(reserves, self._store.epoch)
        except WalletUnavailable as error:
            if error.sent:
                self._give_back(batch)
            raise Unavailable("WALLET_UNAVAILABLE", "the wallet does not answer, nothing was placed") from error
        if any(outcome.code == "STALE_EPOCH" for outcome in outcomes):
            self._on_stale("the wallet refused a reserve of this engine's epoch")
        uncertain = {r.order_id for r, outcome in zip(reserves, outcomes, strict=True) if not outcome.is_certain}
        self._give_back([placing for placing in batch if placing.order and placing.order.order_id in uncertain])
        return {
            r.order_id: wallet_refusal(r, outcome)
            for r, outcome in zip(reserves, outcomes, strict=True)
            if not outcome.ok
        }

    def _give_back(self, batch: list[PlaceRequest]) -> None:
        """Have whatever these orders may have reserved given back."""
        self._sequencer.release_later(releases_of(batch))


def wallet_refusal(reserve: Reserve, outcome: Outcome) -> EngineError:
    """What the wallet's refusal means to the one who placed or amended the order."""
    if outcome.code == "STALE_EPOCH":
        return Unavailable("ENGINE_UNAVAILABLE", "another engine took over, nothing was done")
    if outcome.code == "EPOCH_TOO_FAR":
        return Unavailable("WALLET_UNAVAILABLE", f"the wallet does not take this engine: {outcome.message}")
    if not outcome.is_certain:
        return Unavailable("WALLET_UNAVAILABLE", "the wallet's answer makes no sense, nothing was done")
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


def _fail(batch: list[PlaceRequest], error: BaseException) -> None:
    for placing in batch:
        placing.fail(error)


def _answer(outcome: CommandOutcome | None) -> CommandOutcome:
    """What became of a placement; it always finds something to act on."""
    if outcome is None:
        raise OutcomeUnknown("OUTCOME_UNKNOWN", "repeat the request with the same client_order_id")
    return outcome
