"""The store's contract, on PostgreSQL and in memory: the same cases, the same answers."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable

import asyncpg
import msgspec
import pytest

from trade_engine.domain.enums import OrderStatus, OrderType, SelfTradePrevention, Side, TimeInForce
from trade_engine.domain.ids import trade_uuid, uuid7
from trade_engine.domain.market import Market, default_markets
from trade_engine.domain.orders import Order, Trade
from trade_engine.domain.scale import UNIT
from trade_engine.marketdata.candles import DAY_US, MINUTE_US, Candle
from trade_engine.matching.protocol import MarketMemory
from trade_engine.sequencer.bookkeeping import WalletInstruction
from trade_engine.sequencer.journal import JournalBatch
from trade_engine.sequencer.lease import Identity, Observer
from trade_engine.sequencer.publish import CommittedBatch, TouchedMarket
from trade_engine.sequencer.store import MemoryStore, Store
from trade_engine.sequencer.store.commit import Writer
from trade_engine.sequencer.store.memory import MemoryDatabase
from trade_engine.sequencer.store.port import (
    CommitRefused,
    CommitUndone,
    CommitUnknown,
    Fenced,
    StoreError,
    StoreUnavailable,
    SymbolTaken,
    Unstorable,
)
from trade_engine.sequencer.store.postgres import PostgresStore
from trade_engine.storage.errors import RecoveryError
from trade_engine.storage.pool import close_pool, open_pool

START_US = 1_767_225_600_000_000
MARKETS = default_markets()[:2]
ALICE, BOB = (str(uuid.UUID(int=n)) for n in (1, 2))

Another = Callable[[], Awaitable[Store]]


@pytest.fixture(params=["postgres", "memory"])
async def another(request: pytest.FixtureRequest) -> AsyncIterator[Another]:
    """Opens stores on one database; the last one opened writes."""
    opened: list[Store] = []
    if request.param == "memory":
        database = MemoryDatabase()

        async def in_memory() -> Store:
            store = MemoryStore(database)
            store.seize()
            opened.append(store)
            return store

        yield in_memory
        return
    url = request.getfixturevalue("database_url")
    pool = await open_pool(url)

    observer = Observer(url)

    async def in_postgres() -> Store:
        writer = Writer(url, Identity(str(uuid.uuid4()), "test"))
        await writer.take_over(await observer.holder(), forced=True)
        opened.append(PostgresStore(writer, pool))
        return opened[-1]

    yield in_postgres
    await observer.close()
    for store in opened:
        await store.close()
    await close_pool(pool)


@pytest.fixture
async def store(another: Another) -> Store:
    """A store whose writer has taken over, with two markets and two traders."""
    made = await another()
    await made.take_over()
    await made.markets(MARKETS)
    await made.number_traders([ALICE, BOB])
    return made


def order(sequence: int, **terms: object) -> Order:
    made = Order(
        order_id=uuid7(START_US // 1000, 0, sequence), sequence=sequence, user_id=ALICE, user=1, market_id=1,
        side=Side.BUY, type=OrderType.LIMIT, time_in_force=TimeInForce.GTC, stp=SelfTradePrevention.NONE,
        status=OrderStatus.OPEN, price=100 * UNIT, quantity=2 * UNIT, display_remaining=2 * UNIT, priority=sequence,
        reserved=200 * UNIT, hold=200 * UNIT, maker_fee=50_000, taker_fee=100_000,
        expires_us=START_US + DAY_US, created_us=START_US + sequence, updated_us=START_US + sequence,
    )  # fmt: skip
    return msgspec.structs.replace(made, **terms)


def trade(sequence: int, buys: Order, sells: Order) -> Trade:
    return Trade(
        trade_id=trade_uuid(START_US, sequence, 0), sequence=sequence, market_id=1, price=100 * UNIT, quantity=UNIT,
        notional=100 * UNIT, buyer_order_id=buys.order_id, seller_order_id=sells.order_id,
        buyer_user_id=buys.user_id, seller_user_id=sells.user_id, buyer_fee=7, seller_fee=5, buyer_fee_asset="USDT",
        seller_fee_asset="USDT", is_buyer_maker=True, executed_us=START_US + sequence * MINUTE_US,
    )  # fmt: skip


def release(order_id: str, amount: int | None = 5) -> WalletInstruction:
    return WalletInstruction("RELEASE", None, order_id, ALICE, "USDT", amount, "test")


def batch(
    sequence: int, *orders: Order, new: bool = True, trades: tuple[Trade, ...] = (), releases: int = 0
) -> CommittedBatch:
    """A batch of one command, ``sequence``, after ``sequence - 1``."""
    touched = TouchedMarket(MARKETS[0], MarketMemory(10_000 + sequence, 0, sequence, 1, 2, 3, 4, 5), 3 * sequence)
    return CommittedBatch(
        previous_sequence=sequence - 1,
        time_us=START_US + sequence,
        trade_sequence=trades[-1].sequence if trades else 0,
        instruction_id=10 * (sequence - 1),
        journal=JournalBatch(sequence, sequence, b"before", b"%d" % sequence, bytes(16), b"c", b"e", b"f"),
        orders=orders,
        new=frozenset(o.sequence for o in orders) if new else frozenset(),
        trades=trades,
        instructions=[release(uuid7(0, 0, n)) for n in range(releases)],
        markets=[touched],
        events=[],
    )


async def test_what_is_committed_is_there_for_the_next_writer(store: Store, another: Another) -> None:
    first, second = order(1, client_order_id="a", institution_id="bank"), order(2, user_id=BOB, side=Side.SELL)
    await store.commit(batch(1, first, releases=3))
    await store.commit(batch(2, second))
    changed = msgspec.structs.replace(first, filled=UNIT, hold=100 * UNIT, status=OrderStatus.PARTIALLY_FILLED)
    await store.commit(batch(3, changed, new=False, trades=(trade(1, first, second),)))
    successor = await another()
    state = await successor.take_over()
    assert (state.sequence, state.trade_sequence, state.instruction_id) == (3, 1, 20)
    assert (state.clock_us, state.journal_hash, state.state_hash) == (START_US + 3, b"3", bytes(16))
    assert state.epoch == store.epoch + 1 == successor.epoch
    assert state.facts_since == 1
    traders = await successor.traders()
    assert sorted(traders) == [ALICE, BOB]
    (touched, untouched) = await successor.markets(MARKETS)
    assert (touched.event_sequence, touched.remembered) == (9, MarketMemory(10_003, 0, 3, 1, 2, 3, 4, 5))
    assert (untouched.event_sequence, untouched.market) == (0, MARKETS[1])
    assert await successor.open_orders(1, traders) == [
        msgspec.structs.replace(changed, user=traders[ALICE]), msgspec.structs.replace(second, user=traders[BOB])
    ]  # fmt: skip
    assert await successor.open_orders(2, traders) == []
    assert await successor.find_order(first.order_id) == msgspec.structs.replace(changed, user=0)
    assert await successor.find_order(uuid7(9, 9, 9)) is None
    assert await successor.trades_of_taker(second) == [trade(1, first, second)]
    assert await successor.trades_of_taker(first) == []
    keys = [(ALICE, "a"), (BOB, "a"), (ALICE, "b")]
    assert await successor.find_client_orders(keys) == {(ALICE, "a"): first.order_id}
    assert await successor.placed_of([first.order_id, uuid7(9, 9, 9)]) == {first.order_id}


async def test_only_the_last_writer_writes(store: Store, another: Another) -> None:
    other = await another()
    assert other.epoch == store.epoch + 1
    for _ in range(2):
        with pytest.raises(Fenced):
            await store.commit(batch(1, order(1)))
        with pytest.raises(Fenced):
            await store.take_over()
        await other.take_over()
    assert other.epoch == store.epoch + 1, "it has tried no commit yet"
    await other.commit(batch(1, order(1)))
    with pytest.raises(Fenced):
        await other.commit(batch(1, order(2)))
    with pytest.raises(Fenced):
        await other.commit(batch(3, order(3)))
    await other.commit(batch(2, order(2)))
    await other.take_over()
    assert other.epoch == store.epoch + 2


async def test_a_writer_without_a_connection_knows_nothing(store: Store) -> None:
    await store.close()
    await store.close()
    assert not store.connected
    with pytest.raises(StoreUnavailable):
        await store.commit(batch(1, order(1)))
    await store.take_over()
    await store.commit(batch(1, order(1)))


ENDED = OrderStatus.FILLED
BROKEN: dict[str, dict[str, object]] = {
    "filled beyond its quantity": {"filled": 2 * UNIT + 1},
    "filled and cancelled beyond it": {"filled": UNIT, "cancelled": UNIT + 1},
    "nothing to trade": {"quantity": 0},
    "a price on a market order": {"type": OrderType.MARKET},
    "a stop price on a limit order": {"stop_price": UNIT},
    "no stop price on a stop order": {"type": OrderType.STOP_LIMIT},
    "overdrawn": {"hold": -1},
    "ended and holding": {"status": ENDED},
    "too long a name": {"client_order_id": "x" * 101},
    "a NUL": {"institution_id": "a\0b"},
    "half a character": {"institution_id": "\ud800"},
    "too large": {"reserved": 1 << 63},
    "no market": {"market_id": 9},
}


@pytest.mark.parametrize("what", BROKEN)
async def test_a_batch_that_breaks_a_check_is_refused_whole(store: Store, what: str) -> None:
    with pytest.raises(CommitRefused):
        await store.commit(batch(1, order(1, client_order_id="first"), order(2, **BROKEN[what]), releases=1))
    assert await store.find_order(order(1).order_id) is None
    assert await store.find_client_orders([(ALICE, "first")]) == {}
    await store.commit(batch(1, order(1, client_order_id="first")))


@pytest.mark.parametrize(
    ("sqlstate", "means"),
    [
        ("40001", CommitUndone), ("40P01", CommitUndone), ("55P03", CommitUndone), ("40003", CommitUnknown),
        ("53200", CommitUnknown), ("40002", CommitRefused), ("23514", CommitRefused), ("P0001", CommitRefused),
    ],
)  # fmt: skip
@pytest.mark.parametrize("another", ["postgres"], indirect=True)
async def test_what_the_database_says_tells_whether_the_batch_was_at_fault(
    store: Store, database_url: str, sqlstate: str, means: type[StoreError]
) -> None:
    """A trigger raises what PostgreSQL raises when it breaks a transaction off; the same batch may follow."""
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(
            "CREATE FUNCTION break_off() RETURNS TRIGGER LANGUAGE plpgsql AS"
            f" $$ BEGIN RAISE EXCEPTION 'planned' USING ERRCODE = '{sqlstate}'; END $$;"
            "CREATE TRIGGER break_off BEFORE INSERT ON journal FOR EACH ROW EXECUTE FUNCTION break_off()"
        )
        with pytest.raises(means):
            await store.commit(batch(1, order(1)))
        await connection.execute("DROP TRIGGER break_off ON journal")
    finally:
        await connection.close()
    assert await store.find_order(order(1).order_id) is None
    await store.commit(batch(1, order(1)))


@pytest.mark.parametrize("another", ["postgres"], indirect=True)
async def test_a_question_that_was_undone_does_not_count_as_a_database_away(store: Store, database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(
            "CREATE FUNCTION break_off() RETURNS TRIGGER LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE EXCEPTION 'planned' USING ERRCODE = '40P01'; END $$;"
            "CREATE TRIGGER break_off BEFORE INSERT ON traders FOR EACH ROW EXECUTE FUNCTION break_off()"
        )
        with pytest.raises(StoreUnavailable):
            await store.number_traders([str(uuid.uuid4())])
        assert await store.find_client_orders([(ALICE, "x")]) == {}, "it is asked again at once"
    finally:
        await connection.close()


async def test_what_is_there_is_not_written_again(store: Store) -> None:
    await store.commit(batch(1, order(1, client_order_id="a"), releases=1))
    for repeated in (
        batch(2, order(1)),
        batch(2, order(2, client_order_id="a")),
        batch(2, order(2, client_order_id="b"), order(3, client_order_id="b")),
        batch(2, order(3), new=False),
    ):
        with pytest.raises(CommitRefused):
            await store.commit(repeated)
    ended = order(1, client_order_id="a", status=ENDED, hold=0)
    await store.commit(batch(2, ended, new=False))
    with pytest.raises(CommitRefused):
        await store.commit(batch(3, ended, new=False))
    await store.commit(batch(3, order(2, user_id=BOB, client_order_id="a")))


async def test_a_trade_needs_both_its_orders(store: Store) -> None:
    buys, sells = order(1), order(2, user_id=BOB, side=Side.SELL)
    with pytest.raises(CommitRefused):
        await store.commit(batch(1, buys, trades=(trade(1, buys, sells),)))
    await store.commit(batch(1, buys, sells, trades=(trade(1, buys, sells),)))
    with pytest.raises(CommitRefused):
        await store.commit(batch(2, order(3), trades=(trade(1, buys, sells),)))


async def test_traders_keep_their_numbers(store: Store) -> None:
    carol = str(uuid.UUID(int=3))
    before = await store.traders()
    numbered = await store.number_traders([carol, ALICE])
    assert numbered[ALICE] == before[ALICE]
    assert numbered[carol] not in before.values()
    again, meanwhile = await asyncio.gather(store.number_traders([carol]), store.number_traders([carol, BOB]))
    assert again[carol] == meanwhile[carol] == numbered[carol]


async def test_markets_are_listed_and_changed(store: Store, another: Another) -> None:
    new = Market(market_id=0, symbol="NEW/USDT", base="NEW", quote="USDT", tick_size=UNIT, lot_size=UNIT,
                 min_quantity=UNIT)  # fmt: skip
    listed = await store.insert_market(new)
    assert listed == msgspec.structs.replace(new, market_id=3)
    with pytest.raises(SymbolTaken):
        await store.insert_market(new)
    await store.update_market(msgspec.structs.replace(listed, maker_fee=1))
    await store.update_market(msgspec.structs.replace(MARKETS[0], maker_fee=2))
    after = await another()
    await after.take_over()
    fees = {row.market.symbol: row.market.maker_fee for row in await after.markets(MARKETS)}
    assert fees == {"BTC/USDT": 2, "ETH/USDT": 50_000, "NEW/USDT": 1}
    other = [msgspec.structs.replace(market, maker_fee=3) for market in MARKETS]
    fees = {row.market.symbol: row.market.maker_fee for row in await after.markets(other)}
    assert fees == {"BTC/USDT": 2, "ETH/USDT": 3, "NEW/USDT": 1}, "the configuration speaks for what was not changed"
    with pytest.raises(RecoveryError, match="tick_size"):
        await after.markets([msgspec.structs.replace(MARKETS[1], tick_size=UNIT)])


@pytest.mark.parametrize("name", ["a\0b", "\ud800"])
async def test_what_is_no_text_is_not_looked_for(store: Store, name: str) -> None:
    with pytest.raises(Unstorable):
        await store.find_client_orders([(ALICE, "fine"), (ALICE, name)])
    assert await store.find_client_orders([(ALICE, "fine")]) == {}


async def test_candles_are_kept_and_made_from_trades(store: Store) -> None:
    buys, sells = order(1), order(2, user_id=BOB, side=Side.SELL)
    trades = tuple(trade(n, buys, sells) for n in (1, 2, 3))
    await store.commit(batch(1, buys, sells, trades=trades))
    minutes = await store.traded_minutes(0, 0, 100)
    assert [(number, name, part.start_us, part.trades, part.last_sequence) for number, name, part in minutes] == [
        (1, "1m", START_US + n * MINUTE_US, 1, n) for n in (1, 2, 3)
    ]
    assert await store.traded_minutes(START_US, 1, 1) == minutes[1:2]
    await store.store_candles(minutes)
    older = msgspec.structs.replace(minutes[2][2], last_sequence=2, volume=1)
    await store.store_candles([(1, "1m", older)])
    bounds = START_US, START_US + DAY_US
    assert await store.candles_between(1, "1m", *bounds, 2) == [minutes[1][2], minutes[2][2]]
    assert await store.candles_between(2, "1m", *bounds, 2) == []
    assert await store.candles_since(START_US + 3 * MINUTE_US) == minutes[2:]
    assert await store.candles_since(START_US + DAY_US) == minutes[2:], "the newest is always there"
    assert isinstance(minutes[0][2], Candle)


async def test_an_instruction_has_its_shape_and_its_number(store: Store) -> None:
    shapeless = WalletInstruction("RELEASE", None, None, ALICE, "USDT", 5, "test")
    wrong = msgspec.structs.replace(batch(1, order(1)), instructions=[shapeless])
    with pytest.raises(CommitRefused):
        await store.commit(wrong)
    await store.commit(batch(1, order(1), releases=2))
    taken = msgspec.structs.replace(batch(2, order(2)), instructions=[release(uuid7(0, 0, 7))], instruction_id=1)
    with pytest.raises(CommitRefused):
        await store.commit(taken)


async def test_a_pool_that_is_closed_is_a_store_that_is_away(pool: asyncpg.Pool, database_url: str) -> None:
    store = PostgresStore(Writer(database_url, Identity("", "")), pool)
    await pool.close()
    with pytest.raises(StoreUnavailable):
        await store.find_order(order(1).order_id)
