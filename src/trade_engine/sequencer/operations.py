"""What operators ask of the engine (``ports.Operations``): markets, where it is, how it is."""

from collections.abc import Callable
from typing import Any, Final

import msgspec

from trade_engine.domain.enums import MarketState
from trade_engine.domain.errors import InvalidRequest, Refused, Unavailable
from trade_engine.domain.market import Market, namesake
from trade_engine.sequencer.engine_request import EngineRequest, MarketRequest, StateRequest
from trade_engine.sequencer.pipeline import Sequencer
from trade_engine.sequencer.ports import EngineStatus, MarketStatus
from trade_engine.sequencer.public_markets import PublicMarkets
from trade_engine.sequencer.store.port import Store, StoreError, SymbolTaken

_FIXED: Final = {"market_id", "symbol", "base", "quote", "tick_size", "lot_size", "state"}


class EngineOperations:
    """Keeps ``ports.Operations``.

    Args:
        unwell: tasks of the engine that are not well, by name, with what is wrong.
    """

    def __init__(
        self, sequencer: Sequencer, store: Store, views: PublicMarkets, unwell: Callable[[], dict[str, str]]
    ) -> None:
        self._sequencer = sequencer
        self._store = store
        self._views = views
        self._unwell = unwell

    async def list_market(self, market: Market) -> Market:
        """List a new market while running; with its number.

        Raises:
            Refused: MARKET_EXISTS.
        """
        if self._sequencer.memory.market(market.symbol) is not None:
            raise _listed_already(market.symbol)
        other = namesake(market.symbol, self._sequencer.memory.numbers)
        if other is not None:
            message = f"the market cannot be told from {other} where symbols are written without a slash"
            raise Refused("MARKET_EXISTS", message, field="symbol", provided=market.symbol)
        try:
            listed = await self._store.insert_market(market)
        except SymbolTaken as error:
            raise _listed_already(market.symbol) from error
        except StoreError as error:
            raise _away() from error
        await self._carry_out(MarketRequest(listed))
        return listed

    async def change_market(self, symbol: str, **terms: Any) -> Market:
        """Change a market's fees, limits or rules while running (fields of Market, but its scales and names).

        Orders keep the fees they were accepted with.

        Raises:
            Refused: MARKET_FIXED for a field that cannot be changed; MarketError: the terms contradict each other.
        """
        fixed = sorted(terms.keys() & _FIXED)
        if fixed:
            raise Refused("MARKET_FIXED", f"{fixed[0]} of a market cannot be changed", field=fixed[0])
        changed = msgspec.structs.replace(self._market(symbol), **terms)
        try:
            await self._store.update_market(changed)
        except StoreError as error:
            raise _away() from error
        await self._carry_out(MarketRequest(changed))
        return changed

    async def configure_market(self, market: Market) -> bool:
        """List or change a market as the configuration says, which goes on to speak for it; whether it changed.

        Raises:
            Refused: MARKET_MANAGED, it was listed or changed by an operator; MARKET_FIXED, its tick or lot differs.
        """
        known = self._sequencer.memory.market(market.symbol)
        if known is None:
            try:
                listed = await self._store.insert_market(market, managed=False)
            except StoreError as error:
                raise _away() from error
            await self._carry_out(MarketRequest(listed))
            return True
        wanted = msgspec.structs.replace(market, market_id=known.market_id, state=known.state)
        if wanted == known:
            return False
        if (wanted.tick_size, wanted.lot_size) != (known.tick_size, known.lot_size):
            raise Refused("MARKET_FIXED", "tick_size and lot_size of a market cannot be changed", field="tick_size")
        try:
            if market.symbol in await self._store.managed_markets():
                raise Refused("MARKET_MANAGED", "it was listed or changed over the admin API, which goes on to rule it")
            await self._store.update_market(wanted, managed=False)
        except StoreError as error:
            raise _away() from error
        await self._carry_out(MarketRequest(wanted))
        return True

    async def set_market_state(self, symbol: str, state: MarketState) -> None:
        """Open, halt or close a market; returns after the commit."""
        await self._carry_out(StateRequest(self._market(symbol).market_id, state))

    async def _carry_out(self, request: EngineRequest) -> None:
        self._sequencer.submit([request])
        await request.done

    def _market(self, symbol: str) -> Market:
        market = self._sequencer.memory.market(symbol)
        if market is None:
            raise InvalidRequest("INVALID_SYMBOL", "there is no such market", field="symbol", provided=symbol)
        return market

    def status(self) -> EngineStatus:
        """Where the engine is."""
        sequencer, epoch = self._sequencer, self._store.epoch
        try:
            memory = sequencer.memory
        except Unavailable:
            return EngineStatus(sequencer.obstacle, epoch, 0, sequencer.waiting, sequencer.last_batch, 0, [])
        markets = [
            MarketStatus(view.market.symbol, view.market.state, view.depth.sequence)
            for view in self._views.views.values()
        ]
        return EngineStatus(
            sequencer.obstacle,
            epoch,
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
        trouble = self._sequencer.obstacle
        if trouble is None:
            unwell = self._unwell()
            trouble = "; ".join(f"{name}: {said}" for name, said in unwell.items()) or None
        return {"engine": trouble or "ok", "database": database}


def _listed_already(symbol: str) -> Refused:
    return Refused("MARKET_EXISTS", "the market is listed already", field="symbol", provided=symbol)


def _away() -> Unavailable:
    return Unavailable("DATABASE_UNAVAILABLE", "the database does not answer, nothing was changed")
