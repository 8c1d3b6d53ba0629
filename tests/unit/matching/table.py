"""Scenario tables: commands and what must follow, as plain text (``tables/*.txt``), played on a desk.

A scenario begins with ``# its name``.  Each line is a command; the lines indented below it are the events that must
follow it, all of them and in this order (``ACCEPTED`` is left out).  A command with no line below it must have gone
through quietly: a new order rested or waits whole.  ``bids``, ``asks`` and ``waiting`` state what is in the book.
A command that is refused must leave the book as it was, byte for byte.

    place 1 SELL LIMIT 5 at 100          amend 1 price=101        reduce 1 by 2       tick 5000
    place 2 BUY STOP 3 stop_price=105    cancel 1                 state HALTED        cancel_all user=101
    asks 100: 5 [1, 2] | 101: 3 [3]      bids none                rules max_fills=3   time 4000
    trigger                              due yes                  rules budget=3      restart
"""

import re
from collections.abc import Iterator
from pathlib import Path

from tests.unit.matching.desk import Desk
from trade_engine.domain.commands import CommandKind
from trade_engine.domain.enums import MarketState, Reason

TABLES = Path(__file__).parent / "tables"
_QUIET = {"RESTED", "PENDING"}


def scenarios() -> Iterator[tuple[str, str]]:
    """Name and text of every scenario."""
    for file in sorted(TABLES.glob("*.txt")):
        for part in re.split(r"^# ", file.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
            name, _, text = part.partition("\n")
            yield f"{file.stem}: {name}", text


def play(desk: Desk, text: str) -> None:
    """Play one scenario; AssertionError names the line that went otherwise."""
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    at = 0
    while at < len(lines):
        line = lines[at]
        after = at + 1
        while after < len(lines) and lines[after].startswith(" "):
            after += 1
        expected = [told.strip() for told in lines[at + 1 : after]]
        before = desk.book.dump()
        got = say(desk, line)
        assert _follows(line, got, expected), f"after '{line}'\n  must follow {expected}\n  but it was  {got}"
        if got and all(told.startswith("REJECTED") for told in got):
            assert desk.book.dump() == before, f"'{line}' was refused and yet changed something"
        at = after


def _follows(line: str, got: list[str], expected: list[str]) -> bool:
    events = [told for told in got if not told.startswith("ACCEPTED")]
    if expected or not line.startswith("place"):
        return events == expected
    return len(events) == 1 and events[0].split()[0] in _QUIET


def say(desk: Desk, line: str) -> list[str]:
    """Carry out one line; the events as words, or what differs for a line that states what is in the book."""
    verb, *words = line.split()
    fields = {name: _number(value) for name, _, value in (word.partition("=") for word in words if "=" in word)}
    plain = [word for word in words if "=" not in word]
    match verb:
        case "place":
            return _place(desk, plain, fields)
        case "cancel":
            return desk.cancel(int(plain[0]), **fields)
        case "reduce":
            return desk.reduce(int(plain[0]), int(plain[2]), **fields)
        case "amend":
            return desk.amend(int(plain[0]), **fields)
        case "cancel_all":
            desk.send(CommandKind.CANCEL_ALL, **fields)
            return desk.story()
        case "trigger" | "restart":
            return desk.trigger() if verb == "trigger" else desk.restart()
        case "state":
            return desk.state(MarketState[plain[0]])
        case "rules":
            return [told for told in desk.rules(**fields) if told != "CONFIGURED"]
        case "tick":
            return desk.tick(int(plain[0]), **fields)
        case "time":
            desk.time_us = int(plain[0])
            return []
        case "bids" | "asks" | "waiting" | "due":
            return _differs(desk, verb, line.partition(" ")[2])
    raise AssertionError(f"no such line: {line}")


def _number(value: str) -> int:
    return int(value.replace("_", "")) if value.lstrip("-")[0].isdigit() else int(Reason[value])


def _place(desk: Desk, plain: list[str], fields: dict[str, int]) -> list[str]:
    order_number, *words = plain
    numbers = [int(word) for word in words if word.lstrip("-").isdigit()]
    quantity, price = (*numbers, 0)[:2]
    named = " ".join(word for word in words if word.isupper() and not word.isdigit())
    return desk.place(int(order_number), named, quantity, price, **fields)


def _differs(desk: Desk, what: str, stated: str) -> list[str]:
    if what == "due":
        shown = "yes" if desk.book.triggers_due() else ""
    elif what == "waiting":
        shown = ", ".join(str(order.order_number) for order in desk.book.live_orders() if order.waiting)
    else:
        side = desk.bids() if what == "bids" else desk.asks()
        shown = " | ".join(f"{price}: {quantity} {orders}" for price, quantity, orders in side)
    return [] if (shown or "none") == stated else [f"{what} {shown or 'none'}"]
