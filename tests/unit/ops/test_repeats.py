"""Repeated log lines: first of a kind, then a count a period, nothing swallowed, nothing kept without bound."""

import io
import json
import logging
import random
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from trade_engine.ops import repeats
from trade_engine.ops.logging import configure_logging
from trade_engine.ops.repeats import RepeatedLines


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class Named:
    """A logger with a name, as structlog hands it to processors."""

    def __init__(self, name: str = "engine") -> None:
        self.name = name


class Journal:
    """What came out, in order, whichever way."""

    def __init__(self, period_s: float = 10.0) -> None:
        self.clock = Clock()
        self.lines: list[dict[str, Any]] = []
        self.repeats = RepeatedLines(period_s, lambda line: self.lines.append(dict(line)), self.clock)

    def say(self, event: str, level: str = "warning", name: str = "engine", **fields: Any) -> None:
        try:
            line = self.repeats(Named(name), level, {"event": event, "level": level, **fields})
        except structlog.DropEvent:
            return
        self.lines.append(dict(line))

    def later(self, seconds: float) -> None:
        self.clock.now_s += seconds
        self.repeats.tell_due()


@pytest.fixture
def journal() -> Iterator[Journal]:
    made = Journal()
    yield made
    made.repeats.close()


def test_a_thousand_equal_lines_are_one_and_a_count(journal: Journal) -> None:
    for number in range(1000):
        journal.say("request_failed", "error", request_id=f"r{number}", error=f"ConnectionError('port {number}')")
    assert journal.lines == [
        {"event": "request_failed", "level": "error", "request_id": "r0", "error": "ConnectionError('port 0')"}
    ]
    journal.later(10)
    assert journal.lines[1:] == [
        {"event": "request_failed", "level": "error", "request_id": "r999", "error": "ConnectionError('port 999')",
         "repeated": 999}
    ]  # fmt: skip


def test_it_goes_on_at_one_line_a_period_and_begins_anew_after_a_quiet_one(journal: Journal) -> None:
    journal.say("database_away")
    for _ in range(3):
        for _ in range(50):
            journal.say("database_away")
        journal.later(10)
    assert [line.get("repeated") for line in journal.lines] == [None, 50, 50, 50]
    journal.later(10)
    assert len(journal.lines) == 4, "nothing happened, nothing is said"
    journal.say("database_away")
    assert [line.get("repeated") for line in journal.lines] == [None, 50, 50, 50, None]


@pytest.mark.parametrize(
    "other",
    [
        {"event": "b"},
        {"level": "error"},
        {"name": "wallet"},
        {"error": "TimeoutError()"},
        {"exc_info": ValueError("x")},
    ],
)
def test_lines_that_differ_in_what_counts_are_all_written(journal: Journal, other: dict[str, Any]) -> None:
    journal.say("a")
    journal.say(**({"event": "a"} | other))
    assert len(journal.lines) == 2


@pytest.mark.parametrize("level", ["debug", "info", "critical"])
def test_other_levels_are_never_held_back(journal: Journal, level: str) -> None:
    for _ in range(5):
        journal.say("request", level)
    assert len(journal.lines) == 5


def test_what_is_one_of_a_kind_is_never_held_back_and_the_mark_is_not_shown(journal: Journal) -> None:
    for number in range(5):
        journal.say("reconciliation_difference", "error", one_of_a_kind=True, order_id=str(number))
    assert [line["order_id"] for line in journal.lines] == list("01234")
    assert "one_of_a_kind" not in journal.lines[0]


def test_ids_in_the_text_do_not_make_a_kind(journal: Journal) -> None:
    chance = random.Random(5)
    for _ in range(100):
        journal.say(f"Task <Task at 0x{chance.getrandbits(40):x}> {chance.getrandbits(64):x}1 failed after {_} s")
    assert len(journal.lines) == 1


@pytest.mark.parametrize("seed", range(5))
def test_every_line_is_written_or_counted_and_memory_is_bounded(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeats, "_KINDS_MAX", 8)
    chance, journal, said = random.Random(seed), Journal(), 0
    for _ in range(2000):
        journal.say("".join(chance.choices("abcdefgh", k=chance.choice((1, 2)))))
        said += 1
        if chance.random() < 0.02:
            journal.later(chance.choice((1, 5, 11)))
        assert len(journal.repeats._kinds) <= 8
    journal.repeats.close()
    counted = sum(line.get("repeated", 1) for line in journal.lines)
    assert counted == said
    journal.say("a")
    journal.say("a")
    assert len(journal.lines) >= 2, "after the end every line passes"


def test_a_line_held_back_keeps_no_traceback_alive(journal: Journal) -> None:
    for number in range(2):
        try:
            raise OSError(f"gone {number}")
        except OSError:
            journal.say("request_failed", "error", exc_info=True)
    (counted,) = journal.repeats._kinds.values()
    assert "exc_info" not in counted.last
    assert counted.last["error"] == "OSError('gone 1')"


def test_a_period_of_zero_holds_nothing_back() -> None:
    journal = Journal(0)
    for _ in range(3):
        journal.say("a")
    assert len(journal.lines) == 3


@pytest.fixture
def restored() -> Iterator[None]:
    before, level = logging.root.handlers[:], logging.root.level
    yield
    configure_logging("info", "json", 0)
    structlog.reset_defaults()
    logging.root.handlers[:] = before
    logging.root.setLevel(level)


def written(output: io.BytesIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.getvalue().splitlines()]


@pytest.mark.usefixtures("restored")
def test_the_engines_lines_and_those_of_libraries_are_counted_alike() -> None:
    output = io.BytesIO()
    configure_logging("info", "json", 0.2, output)
    mine, theirs = structlog.get_logger("trade_engine.x"), logging.getLogger("asyncpg.pool")
    for number in range(20):
        mine.error("request_failed", request_id=str(number), error="TimeoutError()")
        theirs.warning("Exception in %s", f"request {number}", exc_info=OSError(f"n {number}"))
        theirs.info("too quiet to be shown")
    lines = written(output)
    assert [(line["event"], line["level"]) for line in lines] == [
        ("request_failed", "error"), ("Exception in request 0", "warning"),
    ]  # fmt: skip
    assert "OSError: n 0" in lines[1]["exception"]
    assert "_template" not in lines[1]
    # The thread tells the rest by itself; closing makes sure it has.
    configure_logging("info", "json", 0.2, io.BytesIO())
    counts = {line["event"]: line["repeated"] for line in written(output)[2:]}
    assert counts == {"request_failed": 19, "Exception in request 19": 19}


@pytest.mark.usefixtures("restored")
def test_what_is_held_back_is_told_though_nothing_more_is_said() -> None:
    output = io.BytesIO()
    configure_logging("info", "console", 0.05, output)
    others = set(threading.enumerate())
    log = structlog.get_logger("trade_engine.x")
    for _ in range(3):
        log.warning("away")
    until = time.monotonic() + 20
    while "repeated" not in output.getvalue().decode() or set(threading.enumerate()) - others:
        assert time.monotonic() < until, "it was not told, or its thread does not end"
        time.sleep(0.01)
    assert output.getvalue().decode().count("away") == 2
