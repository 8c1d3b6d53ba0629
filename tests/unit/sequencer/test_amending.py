"""Amending: what it reserves, what it finds when its turn comes, and that nothing stays reserved for nothing."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence

import msgspec
import pytest

from tests.harness.engine import MemoryVenue, memory_venue
from tests.unit.sequencer.test_failures import sound, until
from trade_engine.domain.enums import MarketState, OrderType, Side, TimeInForce
from trade_engine.domain.errors import EngineError, OutcomeUnknown, Refused, Unavailable
from trade_engine.domain.market import default_markets
from trade_engine.domain.orders import Order
from trade_engine.domain.scale import UNIT, parse_units
from trade_engine.sequencer import turns
from trade_engine.sequencer.ports import Amendment, Placed
from trade_engine.sequencer.store.memory import Fault
from trade_engine.wallet.port import Outcome, Reserve, WalletUnavailable

DAY_US = 24 * 3600 * 1_000_000


WITHOUT_BAND = [msgspec.structs.replace(market, price_band_ppm=0) for market in default_markets()]


def change(**fields: str) -> Amendment:
    return Amendment(**{name: parse_units(value) for name, value in fields.items()})


async def amended(venue: MemoryVenue, order: Order, **fields: str) -> Placed | EngineError:
    """The order as it was changed, or why not."""
    try:
        return await venue.trading.amend(order.order_id, order.user_id, change(**fields))
    except EngineError as error:
        return error


async def caught(call: Awaitable[Placed]) -> Placed | EngineError:
    """What a call answers, or raises."""
    try:
        return await call
    except EngineError as error:
        return error


async def end_and_count(venue: MemoryVenue, user_id: str, asset: str = "USDT") -> int:
    """Cancel everything; what is still reserved."""
    await venue.trading.cancel_all(user_id, None)
    await until(lambda: not venue.sequencer.releases and not venue.engine.unknown_reserves)
    return await venue.reserved(user_id, asset)


@pytest.mark.parametrize("seed", range(8))
async def test_amendments_at_once_each_find_what_they_need(seed: int) -> None:
    chance = random.Random(seed)
    async with memory_venue(markets=WITHOUT_BAND) as venue:
        alice, bob = await venue.trader(USDT="100000"), await venue.trader(BTC="1000")
        order = (await venue.buy(alice, "1", "100")).order
        for _ in range(12):
            changes = [
                amended(venue, order, **{chance.choice(("quantity", "price")): f"{chance.randint(1, 400)}"})
                for _ in range(chance.randint(2, 5))
            ]
            more = [venue.sell(bob, "0.1", "99")] if chance.random() < 0.3 else []
            await asyncio.gather(*changes, *more)
            if order.order_id not in venue.sequencer.memory.live.by_id:
                order = (await venue.buy(alice, "1", "100")).order
        assert venue.sequencer.rebuilds == {}
        assert venue.store.epoch == 1
        assert await end_and_count(venue, alice) == 0
        await sound(venue, alice)


async def test_a_smaller_and_a_larger_amendment_at_once_both_hold() -> None:
    async with memory_venue() as venue:
        alice = await venue.trader(USDT="1000")
        order = (await venue.buy(alice, "1", "100")).order
        small, large = await asyncio.gather(amended(venue, order, quantity="0.5"), amended(venue, order, quantity="2"))
        assert isinstance(small, Placed)
        assert isinstance(large, Placed)
        assert venue.sequencer.memory.live.by_id[order.order_id].quantity == 2 * UNIT
        assert venue.sequencer.rebuilds == {}
        assert await venue.reserved(alice, "USDT") == parse_units("200.2")
        assert await end_and_count(venue, alice) == 0


async def test_an_order_that_keeps_changing_is_not_amended_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    async with memory_venue() as venue:
        alice = await venue.trader(USDT="1000")
        order = (await venue.buy(alice, "1", "100")).order
        reserve, asked = venue.wallet.reserve_many, []

        async def change_first(items: Sequence[Reserve], epoch: int) -> list[Outcome]:
            asked.append(items)
            live = venue.sequencer.memory.live.by_id[order.order_id]
            live.hold -= 1  # As if another amendment had taken some of it back.
            return await reserve(items, epoch)

        monkeypatch.setattr(type(venue.wallet), "reserve_many", lambda _, items, epoch: change_first(items, epoch))
        refused = await amended(venue, order, quantity="2")
        assert isinstance(refused, Refused)
        assert refused.code == "AMENDMENT_CONFLICT"
        assert len(asked) == 4
        monkeypatch.undo()
        live = venue.sequencer.memory.live.by_id[order.order_id]
        live.hold += 4
        await until(lambda: not venue.sequencer.releases)
        assert await venue.reserved(alice, "USDT") == live.hold == parse_units("100.1")


@pytest.mark.parametrize("kind", ["GTD", "DAY"])
async def test_an_order_with_an_end_is_amended_and_keeps_it(kind: str) -> None:
    async with memory_venue() as venue:
        alice = await venue.trader(USDT="1000")
        terms = {"expires_us": venue.now_us + DAY_US // 2} if kind == "GTD" else {}
        order = (await venue.buy(alice, "1", "100", time_in_force=TimeInForce[kind], **terms)).order
        done = await amended(venue, order, price="101")
        assert isinstance(done, Placed)
        assert (done.order.price, done.order.expires_us) == (101 * UNIT, order.expires_us)
        assert done.order.expires_us > 0
        assert await end_and_count(venue, alice) == 0


@pytest.mark.parametrize("at_once", [False, True])
async def test_an_order_that_expires_while_its_amendment_waits(at_once: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The core expires what is due before it looks at the command: the amendment finds an order that has just ended."""
    async with memory_venue() as venue:
        alice = await venue.trader(USDT="1000")
        ends_us = venue.now_us + DAY_US // 2
        order = (await venue.buy(alice, "1", "100", time_in_force=TimeInForce.GTD, expires_us=ends_us)).order
        venue.failpoints.arm("before_commit", "stall")
        blocker = asyncio.create_task(venue.buy(alice, "1", "10"))
        await until(lambda: venue.sequencer._stamped_us > 0)
        waiting = [asyncio.create_task(amended(venue, order, price="200")) for _ in range(3 if at_once else 1)]
        await until(lambda: venue.sequencer.waiting == len(waiting))
        # Upkeep comes first, unless the clock moves between it and the command.
        monkeypatch.setattr(turns, "_is_due", lambda *_: False)
        venue.now_us = ends_us
        venue.failpoints.disarm("before_commit")
        await blocker
        outcomes = await asyncio.gather(*waiting)
        monkeypatch.undo()
        assert {getattr(outcome, "code", outcome) for outcome in outcomes} == {"NOT_AMENDABLE"}
        assert venue.sequencer.rebuilds == {}
        assert venue.store.database.orders[order.order_id].status.name == "EXPIRED"
        await sound(venue, alice)
        assert await end_and_count(venue, alice) == 0


async def test_a_stop_is_amended_to_spend_more() -> None:
    async with memory_venue() as venue:
        alice, bob = await venue.trader(USDT="1000"), await venue.trader(BTC="10")
        await venue.buy(alice, "0.1", "100")
        await venue.sell(bob, "0.1", "100")
        order = (await venue.buy(alice, "1", None, type=OrderType.STOP, stop_price=110 * UNIT)).order
        outcomes = await asyncio.gather(
            amended(venue, order, stop_price="120"), amended(venue, order, quantity="2"),
            amended(venue, order, quantity="0.5"),
        )  # fmt: skip
        assert all(isinstance(outcome, Placed) for outcome in outcomes), outcomes
        live = venue.sequencer.memory.live.by_id[order.order_id]
        assert live.quantity in (UNIT // 2, 2 * UNIT), "one of them was tried again after the other"
        assert live.stop_price == 120 * UNIT
        assert await end_and_count(venue, alice) == 0
        assert venue.sequencer.rebuilds == {}


# ---- the wallet or the writer is away


class Wallets:
    """Makes the next reserves fail, after or before they were made."""

    def __init__(self, venue: MemoryVenue, monkeypatch: pytest.MonkeyPatch) -> None:
        self.failing = 0
        self.made_first = True
        self.error: Callable[[], BaseException] = WalletUnavailable
        reserve = venue.wallet.reserve_many

        async def perhaps(_: object, items: Sequence[Reserve], epoch: int) -> list[Outcome]:
            if not self.failing or not items:
                return await reserve(items, epoch)
            self.failing -= 1
            if self.made_first:
                await reserve(items, epoch)
            raise self.error()

        monkeypatch.setattr(type(venue.wallet), "reserve_many", perhaps)


@pytest.mark.parametrize("made", [False, True])
@pytest.mark.parametrize("error", [WalletUnavailable, asyncio.CancelledError, IndexError])
async def test_a_reserve_of_unknown_outcome_is_found_out_and_given_back(
    monkeypatch: pytest.MonkeyPatch, made: bool, error: type[BaseException]
) -> None:
    async with memory_venue() as venue:
        alice = await venue.trader(USDT="1000")
        order = (await venue.buy(alice, "1", "100")).order
        wallets = Wallets(venue, monkeypatch)
        wallets.failing, wallets.made_first, wallets.error = 1, made, error
        outcome = (await asyncio.gather(amended(venue, order, price="300"), return_exceptions=True))[0]
        assert isinstance(outcome, Unavailable | asyncio.CancelledError | IndexError)
        assert len(venue.engine.unknown_reserves) == 1
        wallets.failing, wallets.error = 2, WalletUnavailable
        await until(lambda: not venue.engine.unknown_reserves)
        await until(lambda: not venue.sequencer.releases)
        assert await venue.reserved(alice, "USDT") == parse_units("100.1")
        assert isinstance(await amended(venue, order, price="300"), Placed)
        assert await end_and_count(venue, alice) == 0


async def test_a_wallet_that_answers_nonsense_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    async with memory_venue() as venue:
        alice = await venue.trader(USDT="1000")
        order = (await venue.buy(alice, "1", "100")).order
        reserve, nonsense = venue.wallet.reserve_many, [True]

        async def babbles(_: object, items: Sequence[Reserve], epoch: int) -> list[Outcome]:
            outcomes = await reserve(items, epoch)
            return [outcome._replace(code="WEIRD") if nonsense[0] else outcome for outcome in outcomes]

        monkeypatch.setattr(type(venue.wallet), "reserve_many", babbles)
        for call in (amended(venue, order, price="300"), caught(venue.buy(alice, "1", "100"))):
            refused = await call
            assert isinstance(refused, Unavailable)
            assert refused.code == "WALLET_UNAVAILABLE"
        assert len(venue.engine.unknown_reserves) == 1
        nonsense[0] = False
        await until(lambda: not venue.engine.unknown_reserves and not venue.sequencer.releases)
        assert await venue.reserved(alice, "USDT") == parse_units("100.1")


async def test_a_reserve_of_unknown_outcome_whose_order_has_ended() -> None:
    async with memory_venue() as venue:
        alice = await venue.trader(USDT="1000")
        order = (await venue.buy(alice, "1", "100")).order
        await venue.trading.cancel(order.order_id, alice)
        await venue.settle()
        venue.engine.unknown_reserves.add(
            Reserve(alice, "USDT", UNIT, order.order_id, "019b0000-0000-7000-8000-00000000000a", "amendment")
        )
        await until(lambda: not venue.engine.unknown_reserves and not venue.sequencer.releases)
        assert await venue.reserved(alice, "USDT") == 0


@pytest.mark.parametrize("fault", [Fault.LOST_BEFORE, Fault.LOST_AFTER, Fault.HANGS, Fault.REFUSED])
async def test_an_amendment_whose_commit_fails_leaves_nothing_reserved(fault: Fault) -> None:
    async with memory_venue() as venue:
        alice = await venue.trader(USDT="1000")
        order = (await venue.buy(alice, "1", "100")).order
        venue.store.plan("commit", fault)
        outcome = await amended(venue, order, price="300")
        assert isinstance(outcome, Refused if fault is Fault.REFUSED else OutcomeUnknown)
        await until(lambda: venue.sequencer.trouble is None and not venue.sequencer.releases)
        price = venue.sequencer.memory.live.by_id[order.order_id].price
        assert price == (300 if fault is Fault.LOST_AFTER else 100) * UNIT
        assert await venue.reserved(alice, "USDT") == price + price // 1000
        assert await end_and_count(venue, alice) == 0


async def test_an_amendment_that_the_writer_does_not_take_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    async with memory_venue() as venue:
        alice = await venue.trader(USDT="1000")
        order = (await venue.buy(alice, "1", "100")).order

        def full(requests: object) -> None:
            raise Unavailable("ENGINE_OVERLOADED", "planted")

        monkeypatch.setattr(venue.sequencer.queue, "submit", full)
        assert isinstance(await amended(venue, order, price="300"), Unavailable)
        monkeypatch.undo()
        await until(lambda: not venue.sequencer.releases)
        assert await venue.reserved(alice, "USDT") == parse_units("100.1")


async def test_a_market_that_is_halted_refuses_and_gives_back() -> None:
    async with memory_venue() as venue:
        alice = await venue.trader(USDT="1000")
        order = (await venue.place(alice, Side.BUY, "1", "100")).order
        await venue.engine.operations.set_market_state("BTC/USDT", MarketState.HALTED)
        refused = await amended(venue, order, price="300")
        assert isinstance(refused, Refused)
        assert refused.code == "MARKET_HALTED"
        assert venue.engine.reader.markets["BTC/USDT"].state is MarketState.HALTED
        assert await venue.reserved(alice, "USDT") == parse_units("100.1")
        await venue.engine.operations.set_market_state("BTC/USDT", MarketState.OPEN)
        assert await end_and_count(venue, alice) == 0
