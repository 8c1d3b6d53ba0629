"""Verification beside a working engine: what is in flight and what is not, and what attackers may try."""

import asyncio
import gzip
import random
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.fixtures import flow
from tests.integration.test_released import RELEASES, migrate
from trade_engine.domain.chained import chain_fields
from trade_engine.matching.books import new_book
from trade_engine.sequencer.journal import chain
from trade_engine.sequencer.verify import Report, verify
from trade_engine.sequencer.verify.tables import check_client_orders


async def verified(url: str) -> Report:
    connection = await asyncpg.connect(url)
    try:
        return await verify(connection, new_book)
    finally:
        await connection.close()


async def _trade(desk: flow.Desk, rng: random.Random, stop: asyncio.Event) -> None:
    """Orders, changes and cancels until told to stop, at most 2,000."""
    mine: list[tuple[str, str]] = []
    for _ in range(2_000):
        if stop.is_set():
            return
        user, side = rng.choice((flow.ALICE, flow.BOB, flow.CAROL)), rng.choice(("BUY", "SELL"))
        body = {"symbol": flow.QUOTED, "side": side, "type": "LIMIT", "quantity": f"0.{rng.randint(10, 99)}"}
        body |= {"price": f"{rng.randint(95, 105)}.00", "client_order_id": f"{rng.getrandbits(60)}"}
        if mine and rng.random() < 0.5:
            owner, order_id = mine.pop()
            change = rng.choice(({"quantity": "1.5"}, {"price": "100.00"}, None))
            await desk.ask(owner, "PATCH" if change else "DELETE", f"/orders/{order_id}", change, fine=False)
            continue
        mine.append((user, (await desk.ask(user, "POST", "/orders", body))["order"]["id"]))


async def test_it_finds_nothing_beside_a_working_engine(database_url: str, tmp_path: Path) -> None:
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    stop = asyncio.Event()
    async with flow.desk(flow.engine_of(database_url, tmp_path)) as desk:
        for user in (flow.ALICE, flow.BOB, flow.CAROL):
            await desk.fund(user, USDT="1000000", AAA="100000")
        traders = [asyncio.create_task(_trade(desk, random.Random(seed + n), stop)) for n in range(8)]
        for _ in range(12):
            report = await verified(database_url)
            assert report.differences == []
            await asyncio.sleep(0.1)
        stop.set()
        await asyncio.gather(*traders)
        assert report.journal_batches > 20
        await desk.settled()
    assert (await verified(database_url)).differences == []


async def test_reserves_on_their_way_and_waiting_settlements_are_no_difference(
    database_url: str, tmp_path: Path
) -> None:
    async with flow.desk(flow.engine_of(database_url, tmp_path)) as desk:
        await desk.fund(flow.ALICE, AAA="10")
        await desk.fund(flow.BOB, USDT="1000")
        engine = desk.engine
        await engine.settlement.pause()
        await desk.place(flow.ALICE, flow.QUOTED, "SELL", "1", "100.00")
        await desk.place(flow.BOB, flow.QUOTED, "BUY", "1", "100.00")
        engine.failpoints.arm("after_reserve", "stall")
        late = asyncio.create_task(desk.place(flow.ALICE, flow.QUOTED, "SELL", "2", "101.00"))
        while await engine.pool.fetchval("SELECT count(*) FROM wallet.ledger_entries WHERE line = 11") < 3:
            await asyncio.sleep(0.02)
        report = await verified(database_url)
        assert (report.differences, report.in_flight) == ([], 1)
        await _as_superuser(
            database_url,
            "UPDATE wallet.ledger_entries SET created_at = created_at - INTERVAL '10 minutes'",
            "UPDATE wallet.funding SET funded_at = funded_at - INTERVAL '10 minutes'",
        )
        report = await verified(database_url)
        assert any("nothing tells of entry" in line for line in report.differences), "after two minutes it is one"
        await _as_superuser(
            database_url,
            "UPDATE wallet.ledger_entries SET created_at = created_at + INTERVAL '10 minutes'",
            "UPDATE wallet.funding SET funded_at = funded_at + INTERVAL '10 minutes'",
        )
        engine.failpoints.disarm("after_reserve")
        await late
        await engine.settlement.resume()
        await desk.settled()
        report = await verified(database_url)
        assert (report.differences, report.in_flight, report.unproven) == ([], 0, 0)


async def _as_superuser(url: str, *statements: str) -> None:
    """Run statements with triggers off."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("SET session_replication_role = replica")
        for statement in statements:
            assert not (await connection.execute(statement)).endswith(" 0"), statement
    finally:
        await connection.close()


async def _hash_anew(connection: Any, *, without_facts_from: int) -> None:
    """What an attacker does who takes facts away: every hash from there on, and the engine's state, by the old rule."""
    before = b""
    for row in await connection.fetch("SELECT * FROM journal ORDER BY last_sequence"):
        first, last = row["first_sequence"], row["last_sequence"]
        facts = row["facts"] if last < without_facts_from else None
        digest = chain(before, first, last, row["state_hash"], row["commands"], row["events"], facts)
        await connection.execute(
            "UPDATE journal SET facts = $2, previous_hash = $3, hash = $4 WHERE last_sequence = $1",
            last, facts, before, digest,
        )  # fmt: skip
        before = digest
    await connection.execute("UPDATE engine_state SET journal_hash = $1", before)


@pytest.mark.parametrize("kept", [0, 3], ids=["all", "but three"])
async def test_facts_are_not_taken_away_by_hashing_anew(empty_database_url: str, tmp_path: Path, kept: int) -> None:
    """Neither from all batches that have them nor from the newest: where they began is known in other places."""
    connection = await asyncpg.connect(empty_database_url)
    await connection.execute(gzip.decompress(RELEASES[0].read_bytes()).decode())
    await connection.close()
    await migrate(empty_database_url)
    async with flow.desk(flow.engine_of(empty_database_url, tmp_path, taker_fee="0.0012")) as desk:
        await flow.third_day(desk)
    report = await verified(empty_database_url)
    assert report.differences == []
    assert report.unproven > 50
    connection = await asyncpg.connect(empty_database_url)
    try:
        with_facts = await connection.fetch(
            "SELECT last_sequence FROM journal WHERE facts IS NOT NULL ORDER BY last_sequence"
        )
        assert len(with_facts) > kept
        await _hash_anew(connection, without_facts_from=with_facts[kept][0])
    finally:
        await connection.close()
    report = await verified(empty_database_url)
    assert not report.facts_ok
    assert any("has none, every batch from" in line for line in report.differences), report.differences


async def test_sql_and_python_hash_alike(connection: Any) -> None:
    for fields in (["a", "b"], ["ä, 1:x", None, ""], ["€" * 100], ["line\nbreak", "-"]):
        found = await connection.fetchval("SELECT chain_hash($1, $2)", b"before", fields)
        assert found == chain_fields(b"before", fields)


_OLD_ORDERS = """
    INSERT INTO orders (order_id, sequence, user_id, market_id, side, type, time_in_force, self_trade_prevention, flags,
        status, is_open, client_order_id, price, quantity, max_notional, filled_quantity, filled_notional,
        cancelled_quantity, priority_sequence, display_remaining, linked_sequence, maker_fee, taker_fee, fee_asset,
        maker_basis, taker_basis, fee_charged, reserved, hold, created_at, updated_at)
    SELECT gen_random_uuid(), days, gen_random_uuid(), 1, 'BUY', 'LIMIT', 'GTC', 'NONE', 0, 'CANCELLED', FALSE,
        'of ' || days, 1, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 'QUOTE', 0, 0, 0, 0, 0, now() - days * INTERVAL '1 day', now()
    FROM unnest($1::INTEGER[]) AS days"""


async def test_a_client_order_id_may_be_forgotten_after_ninety_days(connection: Any) -> None:
    await connection.execute(
        "INSERT INTO markets (market_id, symbol, base, quote, tick_size, lot_size, min_quantity, max_quantity,"
        " min_notional, maker_fee, taker_fee, fee_asset) VALUES (1, 'A/B', 'A', 'B', 1, 1, 1, 9, 0, 0, 0, 'QUOTE')"
    )
    await connection.execute(_OLD_ORDERS, [91, 89])
    report = Report()
    await check_client_orders(connection, report)
    [found] = report.differences
    assert "of 89" in found
    await connection.execute(
        "INSERT INTO client_orders SELECT user_id, client_order_id, order_id FROM orders ORDER BY sequence"
    )
    report = Report()
    await check_client_orders(connection, report)
    assert report.differences == [], "one that was not forgotten yet is none either"
