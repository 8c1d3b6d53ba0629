"""One-cancels-other pairs: one reservation, the first fill or trigger of a leg ends the other, no half is ever seen."""

import random
from typing import Any

import msgspec
import pytest

from tests.harness.engine import MemoryVenue, memory_venue
from tests.unit.sequencer.test_failures import sound, until
from trade_engine.domain.enums import OrderStatus, OrderType, Reason, SelfTradePrevention, Side
from trade_engine.domain.errors import EngineError, InvalidRequest, OutcomeUnknown, Refused, Unavailable
from trade_engine.domain.market import default_markets
from trade_engine.domain.orders import PlaceOrder, PlacePair
from trade_engine.domain.scale import UNIT, parse_units
from trade_engine.sequencer.ports import Amendment, PlacedPair
from trade_engine.sequencer.store.memory import Fault

WITHOUT_BAND = [msgspec.structs.replace(market, price_band_ppm=0) for market in default_markets()]
#: A limit of a SELL pair at 110, its stop at 90 and 89: both need 1 BTC.
SELL = {"side": Side.SELL, "limit": "110", "stop": "90", "stop_limit": "89"}
#: A BUY's at 90, its stop at 110 and 120: the second needs more.
BUY = {"side": Side.BUY, "limit": "90", "stop": "110", "stop_limit": "120"}


def pair_of(user_id: str, side: Side, limit: str, stop: str, stop_limit: str | None, quantity: str = "1",
            **more: Any) -> PlacePair:  # fmt: skip
    """A post-only limit and a stop."""
    names = more.pop("names", (None, None))
    terms: dict[str, Any] = {"user_id": user_id, "symbol": "BTC/USDT", "side": side, "quantity": parse_units(quantity)}
    one = PlaceOrder(
        **{"type": OrderType.LIMIT, "price": parse_units(limit), "post_only": True, "client_order_id": names[0]}
        | terms | more
    )  # fmt: skip
    kind = OrderType.STOP if stop_limit is None else OrderType.STOP_LIMIT
    prices: dict[str, Any] = {"stop_price": parse_units(stop), "price": parse_units(stop_limit or "0")}
    more.pop("post_only", None)
    other = PlaceOrder(type=kind, client_order_id=names[1], **prices, **terms, **more)
    return PlacePair(legs=(one, other), client_pair_id="mine")


async def place(venue: MemoryVenue, user_id: str, **terms: Any) -> PlacedPair:
    return await venue.trading.place_pair(pair_of(user_id, **terms))


async def trade_at(venue: MemoryVenue, maker: str, taker: str, price: str) -> None:
    """Let the last price be this."""
    await venue.sell(maker, "0.1", price)
    await venue.buy(taker, "0.1", price)


@pytest.mark.parametrize(("terms", "asset", "amount"), [(SELL, "BTC", "1"), (BUY, "USDT", "120.12")])
async def test_a_pair_reserves_once_for_the_larger_leg(terms: dict[str, Any], asset: str, amount: str) -> None:
    async with memory_venue(markets=WITHOUT_BAND) as venue:
        alice = await venue.trader(USDT="1000", BTC="10")
        placed = await place(venue, alice, **terms)
        first, second = placed.legs
        assert (first.linked_number, second.linked_number) == (second.sequence, first.sequence)
        assert {first.status, second.status} == {OrderStatus.OPEN, OrderStatus.PENDING}
        assert (placed.pair.pair_number, placed.pair.client_pair_id) == (first.sequence, "mine")
        assert await venue.reserved(alice, asset) == parse_units(amount)
        await venue.trading.cancel(second.order_id, alice)
        ended = await venue.trading.order(first.order_id, alice)
        assert (ended.status, ended.reason) == (OrderStatus.CANCELLED, Reason.LINKED_ORDER)
        assert await venue.reserved(alice, asset) == 0
        await sound(venue, alice)


@pytest.mark.parametrize("terms", [SELL, BUY])
@pytest.mark.parametrize("quantity", ["0.4", "1"])
async def test_a_fill_of_the_limit_ends_the_stop(terms: dict[str, Any], quantity: str) -> None:
    async with memory_venue(markets=WITHOUT_BAND) as venue:
        alice, bob = await venue.trader(USDT="1000", BTC="10"), await venue.trader(USDT="1000", BTC="10")
        placed = await place(venue, alice, **terms)
        await (venue.buy if terms["side"] is Side.SELL else venue.sell)(bob, quantity, terms["limit"])
        legs = {order.type: order for order in (await venue.trading.pair(placed.legs[0].order_id, alice)).legs}
        limit, stop = legs[OrderType.LIMIT], legs[OrderType.STOP_LIMIT]
        assert limit.filled == parse_units(quantity)
        assert (stop.status, stop.reason) == (OrderStatus.CANCELLED, Reason.LINKED_ORDER)
        rest = parse_units("1") - parse_units(quantity)
        if terms["side"] is Side.SELL:
            assert await venue.reserved(alice, "BTC") == rest
        else:
            assert await venue.reserved(alice, "USDT") == rest * 90 + rest * 90 // 1000
        await venue.trading.cancel_all(alice, None)
        assert await venue.reserved(alice, "BTC") == await venue.reserved(alice, "USDT") == 0
        await sound(venue, bob)


@pytest.mark.parametrize("terms", [SELL, BUY, SELL | {"stop_limit": None}, BUY | {"stop_limit": None}])
async def test_a_trigger_of_the_stop_ends_the_limit(terms: dict[str, Any]) -> None:
    async with memory_venue(markets=WITHOUT_BAND) as venue:
        alice, bob = await venue.trader(USDT="1000", BTC="10"), await venue.trader(USDT="5000", BTC="10")
        placed = await place(venue, alice, **terms)
        carol = await venue.trader(USDT="5000", BTC="10")
        side = terms["side"]
        await venue.place(carol, Side.BUY if side is Side.SELL else Side.SELL, "2", terms["stop"])
        await venue.place(bob, side, "0.1", terms["stop"])
        limit, stop = sorted((await venue.trading.pair(placed.legs[0].order_id, alice)).legs, key=lambda leg: leg.type)
        assert (limit.status, limit.reason) == (OrderStatus.CANCELLED, Reason.LINKED_ORDER)
        assert (stop.status, stop.filled) == (OrderStatus.FILLED, UNIT)
        assert await venue.reserved(alice, "BTC") == await venue.reserved(alice, "USDT") == 0
        await venue.trading.cancel_all(None, None)
        await sound(venue, bob)


async def test_a_second_leg_that_is_refused_takes_the_first_with_it() -> None:
    few = [msgspec.structs.replace(market, max_open_orders=1) for market in WITHOUT_BAND]
    async with memory_venue(markets=few) as venue:
        alice = await venue.trader(BTC="10")
        with pytest.raises(Refused) as refusal:
            await place(venue, alice, **SELL)
        assert refusal.value.code == "MAX_OPEN_ORDERS"
        found = sorted(venue.store.database.orders.values(), key=lambda order: order.sequence)
        assert [order.status for order in found] == [OrderStatus.CANCELLED, OrderStatus.REJECTED]
        assert [order.linked_number for order in found] == [0, 0]
        assert venue.store.database.pairs == {}
        assert await venue.reserved(alice, "BTC") == 0
        assert len(venue.sequencer.memory.live) == 0


async def test_a_stop_that_is_reached_already_places_nothing() -> None:
    async with memory_venue(markets=WITHOUT_BAND) as venue:
        alice, bob = await venue.trader(BTC="10"), await venue.trader(BTC="1", USDT="1000")
        await trade_at(venue, bob, await venue.trader(USDT="1000"), "89")
        orders = len(venue.store.database.orders)
        with pytest.raises(Refused) as refusal:
            await place(venue, alice, **SELL)
        assert refusal.value.code == "STOP_PRICE_REACHED"
        assert len(venue.store.database.orders) == orders
        await until(lambda: not venue.sequencer.releases)
        assert await venue.reserved(alice, "BTC") == 0


@pytest.mark.parametrize(
    ("terms", "field"),
    [
        (SELL | {"limit": "85"}, "legs"),
        (SELL | {"post_only": False}, "type"),
        (SELL | {"side": Side.BUY, "limit": "110", "stop": "90"}, "legs"),
        (SELL | {"names": ("a", "a")}, "client_order_id"),
    ],
)
async def test_what_makes_no_pair_is_refused(terms: dict[str, Any], field: str) -> None:
    async with memory_venue(markets=WITHOUT_BAND) as venue:
        with pytest.raises(InvalidRequest) as refusal:
            await place(venue, await venue.trader(BTC="10"), **terms)
        assert (refusal.value.code, refusal.value.details["field"]) == ("INVALID_PAIR", field)
        assert venue.store.database.orders == {}


async def test_legs_are_not_amended_while_both_are_open() -> None:
    async with memory_venue(markets=WITHOUT_BAND) as venue:
        alice = await venue.trader(BTC="10", USDT="1000")
        for leg in (await place(venue, alice, **BUY)).legs:
            with pytest.raises(Refused) as refusal:
                await venue.trading.amend(leg.order_id, alice, Amendment(quantity=2 * UNIT))
            assert refusal.value.code == "NOT_AMENDABLE"
        assert await venue.reserved(alice, "USDT") == parse_units("120.12")


async def test_a_repeat_gives_the_first_pair() -> None:
    async with memory_venue(markets=WITHOUT_BAND) as venue:
        alice = await venue.trader(BTC="10")
        first = await place(venue, alice, **SELL, names=("one", "two"))
        again = await place(venue, alice, **SELL, names=("three", "two"))
        assert (again.pair, again.replayed) == (first.pair, True)
        assert [leg.order_id for leg in again.legs] == [leg.order_id for leg in first.legs]
        await venue.sell(alice, "1", "200", client_order_id="alone")
        with pytest.raises(Refused) as refusal:
            await place(venue, alice, **SELL, names=("alone", "four"))
        assert refusal.value.code == "DUPLICATE_ORDER_ID"
        assert await venue.reserved(alice, "BTC") == 2 * UNIT


@pytest.mark.parametrize("fault", [Fault.REFUSED, Fault.LOST_BEFORE, Fault.LOST_AFTER])
async def test_a_commit_that_fails_leaves_a_whole_pair_or_none(fault: Fault) -> None:
    async with memory_venue(markets=WITHOUT_BAND) as venue:
        alice = await venue.trader(BTC="10", USDT="100")
        venue.store.plan("commit", fault)
        with pytest.raises((Refused, Unavailable)) as failure:
            await place(venue, alice, **SELL, names=("one", "two"))
        await until(lambda: venue.sequencer.trouble is None)
        there = 0 if fault is not Fault.LOST_AFTER else 2
        assert isinstance(failure.value, OutcomeUnknown) == (fault is not Fault.REFUSED)
        assert len(venue.sequencer.memory.live) == there
        await sound(venue, alice)
        assert await venue.reserved(alice, "BTC") == (UNIT if there else 0)


@pytest.mark.parametrize("seed", range(6))
async def test_pairs_among_other_orders_keep_the_books(seed: int) -> None:
    """Random pairs, orders and cancels, restarts between them; at the end nothing is reserved for nothing."""
    chance = random.Random(seed)
    markets = [msgspec.structs.replace(market, max_fills=chance.choice((0, 2))) for market in WITHOUT_BAND]
    database = wallet = None
    users: list[str] = []
    for _ in range(3):
        async with memory_venue(database=database, wallet=wallet, markets=markets) as venue:
            database, wallet = venue.store.database, venue.wallet
            if not users:
                users = [await venue.trader(USDT="1000000", BTC="1000") for _ in range(3)]
            for _ in range(60):
                await _some_request(venue, chance, users)
            assert venue.sequencer.rebuilds == {}
            await sound(venue, users[0])
    async with memory_venue(database=database, wallet=wallet, markets=markets) as venue:
        await venue.trading.cancel_all(None, None)
        for user_id in users:
            assert await venue.reserved(user_id, "BTC") == await venue.reserved(user_id, "USDT") == 0
    assert database is not None
    assert len(database.pairs) > 20


async def _some_request(venue: MemoryVenue, chance: random.Random, users: list[str]) -> None:
    user_id, side, price = chance.choice(users), chance.choice(list(Side)), chance.randint(95, 105)
    try:
        if chance.random() < 0.4:
            away = 1 if side is Side.SELL else -1
            limit, stop = price + away * chance.randint(1, 4), price - away * chance.randint(1, 4)
            stop_limit = None if chance.random() < 0.3 else str(stop - away * chance.randint(0, 3))
            terms = {"side": side, "limit": str(limit), "stop": str(stop), "stop_limit": stop_limit}
            stp = chance.choice(list(SelfTradePrevention))
            await place(venue, user_id, **terms, quantity=f"0.{chance.randint(10, 99)}", stp=stp)
        elif chance.random() < 0.2:
            live = list(venue.sequencer.memory.live.by_id.values())
            if live:
                await venue.trading.cancel(chance.choice(live).order_id, None)
        else:
            kind = chance.choice((str(price), None))
            await venue.place(
                user_id, side, f"0.{chance.randint(10, 99)}", kind, stp=chance.choice(list(SelfTradePrevention))
            )
    except EngineError:
        pass
