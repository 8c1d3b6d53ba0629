"""The engine as the API sees it: admission and sequencer behind plain methods (``requests.Engine``)."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import asyncpg
import msgspec
import structlog

from trade_engine.domain.commands import Command, CommandKind
from trade_engine.domain.enums import MarketState, OrderStatus, Reason, Side
from trade_engine.domain.errors import EngineError, InvalidRequest, NotFound, OutcomeUnknown, Refused, Unavailable
from trade_engine.domain.market import Market
from trade_engine.domain.orders import Order, PlaceOrder
from trade_engine.sequencer.admission import Admission, Replay, wallet_refusal
from trade_engine.sequencer.amending import Amendment, amend_work, check_amendment, extra_funds
from trade_engine.sequencer.bookkeeping import Instruction, Outcome
from trade_engine.sequencer.clock import Clock
from trade_engine.sequencer.memory import MarketView
from trade_engine.sequencer.orphans import orphan_instructions
from trade_engine.sequencer.pipeline import Sequencer
from trade_engine.sequencer.recovery import configure_command, configure_commands
from trade_engine.sequencer.requests import CandlesView, DepthView, EngineStatus, MarketStatus, Placed, TickerView
from trade_engine.sequencer.work import cancel_work, command_work, release_work
from trade_engine.storage.candles import candles_between
from trade_engine.storage.markets import insert_market, update_market
from trade_engine.storage.order_rows import find_order, trades_of_taker
from trade_engine.storage.types import Pool
from trade_engine.wallet.port import Release, Reserve, Wallet, WalletUnavailable

log = structlog.get_logger(__name__)

#: Orders a mass cancel ends in one command, so that no transaction is unbounded.
_MASS_CHUNK: Final = 256


class EngineService:
    """Implements ``requests.Engine``.

    Args:
        markets: as configured; shown even while the engine recovers.
        pool: for reading.
        earlier_excess: what writers before an epoch reserved and nothing needs; asked once that epoch is the wallet's.
    """

    def __init__(
        self,
        sequencer: Sequencer,
        admission: Admission,
        wallet: Wallet,
        pool: Pool,
        clock: Clock,
        markets: Sequence[Market],
        epoch: Callable[[], int],
        earlier_excess: Callable[[int], Awaitable[list[Release]]],
    ) -> None:
        self._epoch = epoch
        self._earlier_excess = earlier_excess
        self._sequencer = sequencer
        self._admission = admission
        self._wallet = wallet
        self._pool = pool
        self._clock = clock
        self._configured = {market.symbol: market for market in markets}
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Recover, start the writer's loop, tell the books their rules and release orphaned reservations.

        Raises:
            RecoveryError: the database contradicts itself; do not serve.
        """
        await self._sequencer.start()
        self._tasks = [
            asyncio.create_task(self._sequencer.run(), name="sequencer"),
            asyncio.create_task(self._admission.run(), name="admission"),
        ]
        works = [command_work(command) for command in configure_commands(self._sequencer.memory)]
        await self._wallet.reserve_many([], self._epoch())
        orphans = orphan_instructions(await self._earlier_excess(self._epoch()))
        if orphans:
            log.warning("releasing orphaned reservations", count=len(orphans))
            works.append(release_work(orphans))
        if works:
            self._sequencer.submit(works)
            await asyncio.gather(*(work.done for work in works))

    async def stop(self) -> None:
        """Finish the batch under way, refuse what waits, and end."""
        self._sequencer.stop()
        if self._tasks:
            sequencer, admission = self._tasks
            self._admission.stop()
            await asyncio.wait([sequencer], timeout=10)
            admission.cancel()
            sequencer.cancel()
            await asyncio.gather(sequencer, admission, return_exceptions=True)
        self._sequencer.refuse_waiting()

    @property
    def markets(self) -> dict[str, Market]:
        """All markets by symbol; those of the configuration while the engine recovers."""
        try:
            return self._sequencer.memory.by_symbol
        except Unavailable:
            return self._configured

    def market(self, market_id: int) -> Market:
        """The market of a number, as orders and trades carry it."""
        return self._sequencer.memory.markets[market_id]

    async def place(self, request: PlaceOrder) -> Placed:
        """Reserve, match and commit an order; see ``requests.Engine``."""
        try:
            outcome = await self._admission.place(request)
        except Replay as replay:
            return await self._replayed(replay.order_id)
        order = outcome.order
        if order is None:
            raise OutcomeUnknown("OUTCOME_UNKNOWN", "repeat the request with the same client_order_id")
        if order.status is OrderStatus.REJECTED:
            raise _refusal(order)
        return Placed(order, outcome.trades)

    async def _replayed(self, order_id: str) -> Placed:
        order = await find_order(self._pool, order_id)
        if order is None:
            raise OutcomeUnknown("OUTCOME_UNKNOWN", "repeat the request with the same client_order_id")
        if order.status is OrderStatus.REJECTED:
            raise _refusal(order)
        return Placed(order, await trades_of_taker(self._pool, order), replayed=True)

    async def cancel(self, order_id: str, user_id: str | None) -> Order:
        """End an order; see ``requests.Engine``."""
        reason = Reason.USER_REQUEST if user_id is not None else Reason.ADMIN_REQUEST
        work = cancel_work(order_id, user_id, reason)
        self._sequencer.submit([work])
        outcome: Outcome | None = await work.done
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

    async def amend(self, order_id: str, user_id: str | None, change: Amendment) -> Placed:
        """Change an order; see ``requests.Engine``."""
        memory = self._sequencer.memory
        order = memory.live.by_id.get(order_id)
        if order is None or (user_id is not None and order.user_id != user_id):
            raise _not_amendable(await self.order(order_id, user_id))
        market = memory.markets[order.market_id]
        wanted = check_amendment(order, change, market)
        extra = extra_funds(order, wanted, market)
        asset = market.base if order.side is Side.SELL else market.quote
        if extra:
            operation = self._clock.order_id()
            reserve = Reserve(order.user_id, asset, extra, order_id, operation, "amendment")
            try:
                (reserved,) = await self._wallet.reserve_many([reserve], self._epoch())
            except WalletUnavailable as error:
                raise Unavailable("WALLET_UNAVAILABLE", "the wallet does not answer, nothing was changed") from error
            if not reserved.ok:
                raise wallet_refusal(reserve, reserved)
        work = amend_work(order_id, user_id, change, wanted, extra)
        unused = Instruction("RELEASE", None, order_id, order.user_id, asset, extra, "amendment found no order")
        try:
            self._sequencer.submit([work])
            outcome = await work.done
        except OutcomeUnknown:
            raise
        except EngineError:
            self._give_back(unused)
            raise
        if outcome is None or outcome.order is None:
            self._give_back(unused)
            raise _not_amendable(await self.order(order_id, user_id))
        if outcome.refusal:
            raise Refused(
                outcome.refusal.name,
                f"the market refused the change: {outcome.refusal.name.lower().replace('_', ' ')}",
                order_id=order_id,
            )
        return Placed(outcome.order, outcome.trades)

    def _give_back(self, unused: Instruction) -> None:
        if unused.amount:
            with contextlib.suppress(Unavailable):
                self._sequencer.submit([release_work([unused])])

    async def cancel_all(self, user_id: str | None, symbol: str | None) -> int:
        """End all orders of a user; see ``requests.Engine``."""
        memory = self._sequencer.memory
        user = 0 if user_id is None else memory.traders.get(user_id)
        if user is None:
            return 0
        markets = [self.view(symbol).market] if symbol else list(memory.markets.values())
        reason = Reason.MASS_CANCEL if user_id is not None else Reason.ADMIN_REQUEST
        ended = 0
        for market in markets:
            command = Command(
                CommandKind.CANCEL_ALL, 0, 0, market.market_id, user=user, reason=reason, quantity=_MASS_CHUNK
            )
            while True:
                work = command_work(command)
                self._sequencer.submit([work])
                outcome = await work.done
                count = outcome.ended if outcome else 0
                ended += count
                if count < _MASS_CHUNK:
                    break
        return ended

    async def list_market(self, market: Market) -> Market:
        """List a new market while running; with its number.  Returns when it takes orders.

        Raises:
            Refused: MARKET_EXISTS.
        """
        memory = self._sequencer.memory
        if market.symbol in memory.by_symbol:
            raise _listed_already(market.symbol)
        try:
            row = await insert_market(self._pool, market, managed=True)
        except asyncpg.UniqueViolationError as error:
            raise _listed_already(market.symbol) from error
        listed = msgspec.structs.replace(market, market_id=row["market_id"])
        self._sequencer.memory.add_market(listed)
        await self._tell(configure_command(listed))
        return listed

    async def change_market(self, symbol: str, **terms: Any) -> Market:
        """Change a market's fees, limits or rules while running (fields of Market, but its scales and names).

        Orders keep the fees they were accepted with.

        Raises:
            Refused: MARKET_FIXED for a field that cannot be changed; MarketError: the terms contradict each other.
        """
        fixed = sorted(terms.keys() & {"market_id", "symbol", "base", "quote", "tick_size", "lot_size", "state"})
        if fixed:
            raise Refused("MARKET_FIXED", f"{fixed[0]} of a market cannot be changed", field=fixed[0])
        changed = msgspec.structs.replace(self.view(symbol).market, **terms)
        await update_market(self._pool, changed)
        self._sequencer.memory.replace_market(changed)
        await self._tell(configure_command(changed))
        return changed

    async def _tell(self, command: Command) -> None:
        work = command_work(command)
        self._sequencer.submit([work])
        await work.done

    async def set_market_state(self, symbol: str, state: MarketState) -> None:
        """Open, halt or close a market; returns after the commit."""
        market = self.view(symbol).market
        await self._tell(Command(CommandKind.SET_STATE, 0, 0, market.market_id, state=state))
        now = self.view(symbol).market
        self._sequencer.memory.replace_market(msgspec.structs.replace(now, state=state))

    async def order(self, order_id: str, user_id: str | None) -> Order:
        """One committed order; see ``requests.Engine``."""
        order = await find_order(self._pool, order_id)
        if order is None or (user_id is not None and order.user_id != user_id):
            raise NotFound("ORDER_NOT_FOUND", "there is no such order", field="order_id", provided=order_id)
        return order

    @property
    def committed_us(self) -> int:
        """Every trade stamped before this time is committed."""
        return self._sequencer.committed_us

    def is_live(self, order_id: str) -> bool:
        """Whether a committed order can still trade."""
        return order_id in self._sequencer.memory.live.by_id

    def depth(self, symbol: str, levels: int) -> DepthView:
        """The committed book of a market, units of 1e-8."""
        view = self.view(symbol)
        tick, lot = view.market.tick_size, view.market.lot_size
        bids, asks = (
            [(price * tick, lots * lot, orders) for price, lots, orders in view.depth.levels(side, levels)]
            for side in (Side.BUY, Side.SELL)
        )
        return DepthView(bids, asks, view.depth.sequence)

    def ticker(self, symbol: str) -> TickerView:
        """The committed ticker of a market."""
        view = self.view(symbol)
        day = view.ticker
        day.advance(self._clock.now_us())
        tick = view.market.tick_size
        return TickerView(
            last_price=day.last_price,
            open=day.open,
            high=day.high,
            low=day.low,
            volume=day.volume,
            quote_volume=day.quote_volume,
            trades=day.trades,
            best_bid=view.depth.best(Side.BUY) * tick,
            best_ask=view.depth.best(Side.SELL) * tick,
        )

    async def candles(self, symbol: str, interval: str, start_us: int, end_us: int, limit: int) -> CandlesView:
        """Candles of a market; see ``requests.Engine``."""
        view = self.view(symbol)
        committed_us = self._sequencer.committed_us
        held = view.candles.between(interval, start_us, end_us, limit)
        oldest_us = view.candles.oldest_us(interval)
        if oldest_us is not None:
            end_us = min(end_us, oldest_us)
        if len(held) < limit and start_us < end_us:
            market_id, left = view.market.market_id, limit - len(held)
            held = await candles_between(self._pool, market_id, interval, start_us, end_us, left) + held
        return CandlesView(held, committed_us)

    def status(self) -> EngineStatus:
        """Where the engine is."""
        sequencer = self._sequencer
        try:
            memory = sequencer.memory
        except Unavailable:
            return EngineStatus(sequencer.trouble, self._epoch(), 0, sequencer.waiting, sequencer.last_batch, 0, [])
        markets = [
            MarketStatus(view.market.symbol, view.market.state, view.depth.sequence) for view in memory.views.values()
        ]
        return EngineStatus(
            sequencer.trouble,
            self._epoch(),
            memory.sequence,
            sequencer.waiting,
            sequencer.last_batch,
            len(memory.live),
            markets,
        )

    def condition(self) -> dict[str, str]:
        """Health by name."""
        trouble = self._sequencer.trouble
        database = trouble if trouble and trouble.startswith("database") else "ok"
        return {"engine": trouble or "ok", "database": database}

    def view(self, symbol: str) -> MarketView:
        """What is committed of a market.

        Raises:
            InvalidRequest: INVALID_SYMBOL; Unavailable: the engine builds its memory.
        """
        memory = self._sequencer.memory
        market = memory.by_symbol.get(symbol)
        if market is None:
            raise InvalidRequest("INVALID_SYMBOL", "there is no such market", field="symbol", provided=symbol)
        return memory.views[market.market_id]


def _listed_already(symbol: str) -> Refused:
    return Refused("MARKET_EXISTS", "the market is listed already", field="symbol", provided=symbol)


def _not_amendable(order: Order) -> Refused:
    return Refused(
        "NOT_AMENDABLE",
        f"the order is {order.status.name}",
        field="order_id",
        provided=order.order_id,
        status=order.status.name,
    )


def _refusal(order: Order) -> EngineError:
    return Refused(
        order.reason.name,
        f"the market refused the order: {order.reason.name.lower().replace('_', ' ')}",
        order_id=order.order_id,
        client_order_id=order.client_order_id,
    )
