"""When a call is repeated, for how long, and what is said in the end: one row a story."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from trade_engine.client import (
    ApiError,
    ClientError,
    NewOrder,
    OutcomeUnknown,
    ProtocolError,
    RateLimited,
    Retry,
    TransportError,
    Unavailable,
    calls,
)
from trade_engine.client.repeating import Answered, Lost, Pause, Reply, Try, carry_out

CUT = Lost("cut", sent=True)
NO_WAY = Lost("refused", sent=False)
GARBAGE = Reply(200, None, b'{"success":tr')
GATEWAY = Reply(502, None, b"<html>")
PLACE = calls.place("BTC/USDT", "BUY", 1, 1, client_order_id="c")
AMEND = calls.amend("x", price=1)
CANCEL_ALL = calls.cancel_all()
TIME = calls.time()


def refusal(status: int, code: str, retry_after: str | None = None) -> Reply:
    error = {"code": code, "message": "m", "details": {}}
    return Reply(status, retry_after, json.dumps({"success": False, "error": error}).encode())


AWAY = refusal(503, "ENGINE_UNAVAILABLE")
UNKNOWN = refusal(503, "OUTCOME_UNKNOWN")
BROKEN = refusal(500, "INTERNAL_ERROR")
CANCELLED = Reply(200, None, b'{"success":true,"data":{"cancelled":3}}')


class Story:
    """Feeds answers to a call; the clock moves with pauses and, by ``took_s``, with tries."""

    def __init__(self, call: Any, came: Sequence[Answered], retry: Retry | None = None, took_s: float = 0.0) -> None:
        self.now, self.tries, self.pauses, self.timeouts = 0.0, 0, list[float](), list[float]()
        self.result: Any = None
        steps = carry_out(call, retry or Retry(), lambda: self.now, lambda: 0.0)
        answers, answer = iter(came), None
        while True:
            try:
                step = steps.send(answer)
            except StopIteration as end:
                self.result = end.value
                return
            except ClientError as error:
                self.result = error
                return
            answer = None
            if isinstance(step, Pause):
                self.pauses.append(step.seconds)
                self.now += step.seconds
            else:
                assert isinstance(step, Try)
                self.tries += 1
                self.timeouts.append(step.timeout_s)
                self.now += took_s
                answer = next(answers)


@pytest.mark.parametrize(
    ("call", "came", "tries", "result"),
    [
        (CANCEL_ALL, [CANCELLED], 1, 3),
        (CANCEL_ALL, [CUT, AWAY, UNKNOWN, NO_WAY, GATEWAY, CANCELLED], 6, 3),
        # What surely did nothing may be repeated whatever it is; what may be done only where that is harmless.
        (AMEND, [NO_WAY, AWAY, refusal(429, "RATE_LIMITED"), refusal(422, "NO_CHANGE")], 4, ApiError),
        (AMEND, [CUT], 1, OutcomeUnknown),
        (AMEND, [UNKNOWN], 1, OutcomeUnknown),
        (AMEND, [GATEWAY], 1, OutcomeUnknown),
        (AMEND, [BROKEN], 1, OutcomeUnknown),
        (AMEND, [GARBAGE], 1, OutcomeUnknown),
        (PLACE, [refusal(400, "INVALID_PRICE")], 1, ApiError),
        (PLACE, [BROKEN], 1, OutcomeUnknown),
        (PLACE, [GARBAGE], 1, OutcomeUnknown),
        # A later refusal does not say what became of the first try, unless the engine had looked for its id.
        (PLACE, [CUT, refusal(401, "TOKEN_EXPIRED")], 2, OutcomeUnknown),
        (PLACE, [CUT, refusal(400, "INVALID_EXPIRY")], 2, OutcomeUnknown),
        (PLACE, [CUT, refusal(400, "INSUFFICIENT_BALANCE")], 2, ApiError),
        (PLACE, [UNKNOWN, refusal(422, "MARKET_HALTED")], 2, ApiError),
        (PLACE, [NO_WAY, refusal(401, "TOKEN_EXPIRED")], 2, ApiError),
        # What only reads is never of unknown outcome.
        (TIME, [BROKEN], 1, ApiError),
        (TIME, [GARBAGE], 1, ProtocolError),
        (TIME, [CUT, GATEWAY, refusal(404, "ROUTE_NOT_FOUND")], 3, ApiError),
        (PLACE, [Reply(302, None, b"")], 1, ProtocolError),
        (PLACE, [Reply(200, None, b'{"success":false}')], 1, OutcomeUnknown),
    ],
)
def test_stories(call: Any, came: list[Answered], tries: int, result: Any) -> None:
    story = Story(call, came)
    assert story.tries == tries
    if isinstance(result, type):
        assert type(story.result) is result
    else:
        assert story.result == result


@pytest.mark.parametrize(
    ("call", "answer", "result"),
    [
        (PLACE, CUT, OutcomeUnknown),
        (PLACE, UNKNOWN, OutcomeUnknown),
        (PLACE, NO_WAY, TransportError),
        (PLACE, AWAY, Unavailable),
        (PLACE, refusal(429, "RATE_LIMITED"), RateLimited),
        (TIME, CUT, TransportError),
        (TIME, GATEWAY, ProtocolError),
    ],
)
def test_it_ends_at_the_deadline(call: Any, answer: Answered, result: type) -> None:
    story = Story(call, [answer] * 1000, Retry(deadline_s=20, longest_pause_s=3), took_s=0.1)
    assert type(story.result) is result
    assert 17 <= story.now <= 20.2
    assert story.pauses[:7] == [0.1, 0.2, 0.4, 0.8, 1.6, 3, 3]


def test_the_last_try_is_cut_short() -> None:
    story = Story(PLACE, [CUT] * 9, Retry(deadline_s=15, timeout_s=10), took_s=10)
    assert story.timeouts == [10, pytest.approx(4.9)]


def test_no_deadline_is_one_try() -> None:
    story = Story(PLACE, [CUT], Retry(deadline_s=0, timeout_s=7))
    assert (story.timeouts, type(story.result)) == ([7], OutcomeUnknown)


def test_the_server_says_how_long_to_wait() -> None:
    story = Story(CANCEL_ALL, [refusal(429, "RATE_LIMITED", "4"), CANCELLED])
    assert (story.pauses, story.result) == ([4.1], 3)
    story = Story(CANCEL_ALL, [refusal(429, "RATE_LIMITED", "40"), CANCELLED])
    assert (story.tries, story.result.retry_after) == (1, 40)
    story = Story(CANCEL_ALL, [refusal(503, "ENGINE_UNAVAILABLE", "Fri, 31 Dec 1999 23:59:59 GMT"), CANCELLED])
    assert story.result == 3


def test_a_batch_is_repeated_while_one_of_it_is_unknown() -> None:
    def answer(*codes: str) -> Reply:
        rows = [{"success": False, "error": {"code": code, "message": "m"}} for code in codes]
        return Reply(200, None, json.dumps({"success": True, "data": rows}).encode())

    call = calls.place_many([NewOrder("BTC/USDT", "BUY", 1, 1), NewOrder("BTC/USDT", "BUY", 1, 1)])
    assert len(set(call.client_order_ids)) == 2
    story = Story(call, [answer("OUTCOME_UNKNOWN", "INVALID_PRICE"), answer("MIN_NOTIONAL", "INVALID_PRICE")])
    assert (story.tries, [row.error.code for row in story.result]) == (2, ["MIN_NOTIONAL", "INVALID_PRICE"])
    story = Story(call, [answer("OUTCOME_UNKNOWN")] * 99, Retry(deadline_s=1))
    assert story.result[0].error.code == "OUTCOME_UNKNOWN"


def test_the_error_names_the_id_to_repeat_with() -> None:
    result = Story(PLACE, [CUT] * 99, Retry(deadline_s=1)).result
    assert (result.client_order_id, type(result.__cause__)) == ("c", TransportError)
