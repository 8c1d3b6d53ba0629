"""The drill's own eyes: each kind of wrong, planted into rows that an engine might have left, must be seen."""

import random
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from tests.survive.drill import schedule
from tests.survive.faults import FAULTS
from tests.survive.record import OrderRecord, Outcome, Record
from tests.survive.truth import Verdict, compare
from tests.survive.wire import Answer

USER = "00000000-0000-4000-8000-000000000001"
Row = dict[str, Any]


def view(number: int, **terms: Any) -> dict[str, Any]:
    """An order as an answer shows it."""
    return {
        "id": f"id-{number}", "user_id": USER, "client_order_id": f"c-{number}", "symbol": "BTC/USDT", "side": "BUY",
        "type": "LIMIT", "time_in_force": "GTC", "status": "OPEN", "quantity": "2", "price": "100.00",
        "stop_price": None, "display_quantity": None, "filled_quantity": "0",
    } | terms  # fmt: skip


def row_of(shown: dict[str, Any]) -> Row:
    """The row that tells the same."""
    amounts = ("quantity", "price", "stop_price", "display_quantity", "filled_quantity")
    row = {key: Decimal(value) if key in amounts and value else value for key, value in shown.items()}
    row["filled_quantity"] = Decimal(shown["filled_quantity"])
    return row | {"is_open": shown["status"] in ("OPEN", "PENDING", "PARTIALLY_FILLED")}


def answer(number: int, status: int = 201, **terms: Any) -> Answer:
    return Answer(status, {"data": {"order": view(number, **terms)}})


def refusal(status: int, code: str) -> Answer:
    return Answer(status, {"error": {"code": code}})


@pytest.fixture
def record() -> Record:
    """Three orders: 1 acknowledged and open, 2 acknowledged and filled, 3 refused."""
    made = Record()
    for number in (1, 2, 3):
        made.order(USER, {"client_order_id": f"c-{number}"})
    one, two, three = made.orders.values()
    one.placed(answer(1))
    two.placed(Answer(201, {"data": {"order": view(2, status="FILLED", filled_quantity="2")}}))
    three.placed(refusal(400, "INSUFFICIENT_BALANCE"))
    return made


@pytest.fixture
def rows(record: Record) -> list[Row]:
    return [row_of(order.shown) for order in record.of(Outcome.ACKNOWLEDGED)]


def test_what_is_as_acknowledged_is_right(record: Record, rows: list[Row]) -> None:
    assert not compare(record, rows)
    rows[0] |= {"filled_quantity": Decimal(2), "status": "FILLED", "is_open": False}
    assert not compare(record, rows), "an open order may go on"


@pytest.mark.parametrize(
    "lose",
    [
        lambda rows: rows.pop(0),
        lambda rows: rows[0].update(price=Decimal(101)),
        lambda rows: rows[0].update(quantity=Decimal("1.99999999")),
        lambda rows: rows[0].update(side="SELL"),
        lambda rows: rows[0].update(display_quantity=Decimal(1)),
        lambda rows: rows[0].update(id="id-9"),
        lambda rows: rows[1].update(filled_quantity=Decimal(1)),
        lambda rows: rows[1].update(status="OPEN", is_open=True),
    ],
)
def test_what_was_acknowledged_and_is_not_so_is_lost(
    record: Record, rows: list[Row], lose: Callable[[list[Row]], Any]
) -> None:
    lose(rows)
    verdict = compare(record, rows)
    assert verdict.lost
    assert not verdict.doubled


def test_a_second_order_of_one_client_order_id_is_doubled(record: Record, rows: list[Row]) -> None:
    rows.append(rows[0] | {"id": "id-7"})
    assert compare(record, rows) == Verdict(lost=[], doubled=["order c-1 (id-1) is there 2 times"], invented=[])
    rows[-1] = rows[0] | {"client_order_id": None}
    assert compare(record, rows).doubled == ["order id-1 is there twice"]


def test_a_repeat_that_places_again_is_doubled(record: Record, rows: list[Row]) -> None:
    record.orders[USER, "c-1"].placed(Answer(200, {"data": {"order": view(1, id="id-8")}}))
    assert compare(record, rows).doubled


def test_a_repeat_that_denies_what_was_acknowledged_is_seen(record: Record, rows: list[Row]) -> None:
    record.orders[USER, "c-1"].placed(refusal(400, "INSUFFICIENT_BALANCE"))
    assert compare(record, rows).doubled


@pytest.mark.parametrize(("status", "code"), [(400, "INSUFFICIENT_BALANCE"), (503, "WALLET_UNAVAILABLE"), (429, "X")])
@pytest.mark.parametrize("stored", ["OPEN", "REJECTED"])
def test_what_was_refused_and_exists_is_invented(status: int, code: str, stored: str) -> None:
    record = Record()
    record.order(USER, {"client_order_id": "c-3"}).placed(refusal(status, code))
    assert compare(record, [row_of(view(3, status=stored))]).invented


def test_a_rule_of_the_market_leaves_a_rejected_row_and_no_other() -> None:
    record = Record()
    record.order(USER, {"client_order_id": "c-3"}).placed(refusal(422, "PRICE_BAND"))
    assert not compare(record, [row_of(view(3, status="REJECTED"))])
    assert compare(record, [row_of(view(3))]).invented


def unknown() -> OrderRecord:
    order = Record().order(USER, {"client_order_id": "c-1"})
    order.unanswered()
    return order


def test_an_unknown_outcome_stays_unknown_until_the_engine_says_which() -> None:
    for vague in (refusal(503, "OUTCOME_UNKNOWN"), refusal(503, "ENGINE_UNAVAILABLE"), refusal(500, "INTERNAL_ERROR")):
        order = unknown()
        order.placed(vague)
        assert order.outcome == "unknown"
        order.never_sent()
        assert order.outcome == "unknown"
        order.placed(answer(1, 200))
        assert order.order_id == "id-1"
    order = unknown()
    order.placed(refusal(400, "INSUFFICIENT_BALANCE"))
    assert order.outcome is Outcome.REFUSED


def test_an_amendment_without_an_answer_may_have_happened_or_not(record: Record, rows: list[Row]) -> None:
    order = record.orders[USER, "c-1"]
    order.changing({"quantity": "3"})
    order.changed(None)
    assert not compare(record, rows)
    rows[0]["quantity"] = Decimal(3)
    assert not compare(record, rows)
    rows[0]["quantity"] = Decimal(4)
    assert compare(record, rows).lost


def test_an_acknowledged_amendment_is_a_term_like_any_other(record: Record, rows: list[Row]) -> None:
    order = record.orders[USER, "c-1"]
    order.changing({"quantity": "3"})
    order.changed(answer(1, 200, quantity="3"))
    assert compare(record, rows).lost
    rows[0]["quantity"] = Decimal(3)
    assert not compare(record, rows)


def test_an_acknowledged_cancel_that_did_not_last_is_lost(record: Record, rows: list[Row]) -> None:
    record.orders[USER, "c-1"].cancelling(Answer(200, {}))
    assert compare(record, rows).lost
    rows[0] |= {"status": "CANCELLED", "is_open": False}
    assert not compare(record, rows)


@pytest.mark.parametrize("seed", range(3))
def test_every_kind_of_fault_comes_before_any_comes_again(seed: int) -> None:
    deck = schedule(60, random.Random(seed))
    assert len(deck) == 60
    for at in range(0, 60 - len(FAULTS) + 1, len(FAULTS)):
        assert set(deck[at : at + len(FAULTS)]) == FAULTS.keys()
    assert deck == schedule(60, random.Random(seed))
