"""What the clients asked for and were told: the only side of the story that no engine can change."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Any, Final

from tests.survive.wire import Answer

#: 503s that say: nothing was done.
NOTHING_DONE: Final = frozenset(
    (
        "WALLET_UNAVAILABLE",
        "DATABASE_UNAVAILABLE",
        "ENGINE_UNAVAILABLE",
        "ENGINE_OVERLOADED",
        "REQUEST_TIMEOUT",
        "CLOCK_JUMPED",
    )
)
ENDED: Final = frozenset(("FILLED", "CANCELLED", "REJECTED", "EXPIRED"))
#: Terms that an order keeps for as long as nobody amends it.
AMENDABLE: Final = ("quantity", "price", "stop_price")
FIXED: Final = ("user_id", "symbol", "side", "type", "time_in_force", "client_order_id", "display_quantity")


class Outcome(StrEnum):
    """What a client knows of its order."""

    UNKNOWN = "unknown"
    ACKNOWLEDGED = "acknowledged"
    REFUSED = "refused"


class OrderRecord:
    """One order as its client knows it."""

    def __init__(self, user_id: str, body: dict[str, Any]) -> None:
        self.user_id = user_id
        self.body = body
        self.client_order_id: str = body["client_order_id"]
        self.outcome = Outcome.UNKNOWN
        self.why = "not answered"
        #: As the newest answer showed it.
        self.shown: dict[str, Any] = {}
        #: Values that each amendable term may have, by what was asked for and answered.
        self.allowed: dict[str, set[str | None]] = {}
        self.changes_open = 0
        self.cancelled = False
        self.contradictions: list[str] = []

    @property
    def order_id(self) -> str:
        """Its id; empty as long as none was told."""
        return str(self.shown.get("id", ""))

    @property
    def may_live(self) -> bool:
        """Whether it may still be in the book, as far as the client was told."""
        told_ended = self.cancelled or self.shown.get("status") in ENDED
        return self.outcome is Outcome.ACKNOWLEDGED and not told_ended

    def placed(self, answer: Answer) -> None:
        """Take in the answer to the placing, or to its repeat."""
        if answer.status in (200, 201):
            self.seen(answer.data["order"])
            return
        if self.outcome is Outcome.ACKNOWLEDGED:
            if answer.status < 500 and answer.status != 429:
                self.contradictions.append(f"was acknowledged, and its repeat is told {answer.status} {answer.code}")
            return
        if answer.status in (429, 503) and self.why == "unknown":
            # Says something of the repeat only, not of the first request.
            return
        if answer.status < 500 or (answer.status == 503 and answer.code in NOTHING_DONE):
            self.outcome, self.why = Outcome.REFUSED, f"{answer.status} {answer.code}"
        else:
            self.why = "unknown"

    def never_sent(self) -> None:
        """Nobody listened: if nothing was sent before either, the order cannot be."""
        if self.outcome is Outcome.UNKNOWN and self.why == "not answered":
            self.outcome, self.why = Outcome.REFUSED, "never sent"

    def unanswered(self) -> None:
        """No answer came: the order may be there or not."""
        if self.outcome is not Outcome.ACKNOWLEDGED:
            self.outcome, self.why = Outcome.UNKNOWN, "unknown"

    def seen(self, order: dict[str, Any]) -> None:
        """Take in how an answer shows the order."""
        if self.order_id and self.order_id != order["id"]:
            self.contradictions.append(f"was {self.order_id}, is {order['id']} now")
        if self.outcome is Outcome.REFUSED:
            self.contradictions.append(f"was refused ({self.why}), and exists as {order['id']}")
        self.outcome = Outcome.ACKNOWLEDGED
        self.shown = order
        for term in AMENDABLE:
            if self.changes_open:
                self.allowed.setdefault(term, set()).add(order[term])
            else:
                self.allowed[term] = {order[term]}

    def changing(self, change: dict[str, str]) -> None:
        """An amendment is on its way: from now on the order may have these terms."""
        self.changes_open += 1
        for term, value in change.items():
            self.allowed.setdefault(term, set()).add(value)

    def changed(self, answer: Answer | None) -> None:
        """Take in an amendment's answer; None: there was none, and it may take effect at any time."""
        if answer is None or answer.code == "OUTCOME_UNKNOWN" or answer.status == 500:
            return
        self.changes_open -= 1
        if answer.status == 200:
            self.seen(answer.data["order"])

    def cancelling(self, answer: Answer) -> None:
        """Take in a cancel's answer."""
        if answer.status == 200:
            self.cancelled = True


class Record:
    """All that was asked and told, by client order id."""

    def __init__(self) -> None:
        self.orders: dict[tuple[str, str], OrderRecord] = {}
        self.answers: dict[str, int] = {}
        self.overdue: list[str] = []
        self.faults: list[str] = []

    def order(self, user_id: str, body: dict[str, Any]) -> OrderRecord:
        """Begin an order."""
        made = OrderRecord(user_id, body)
        self.orders[user_id, made.client_order_id] = made
        return made

    def count(self, what: str) -> None:
        """One more of these."""
        self.answers[what] = self.answers.get(what, 0) + 1

    def of(self, outcome: Outcome) -> Iterable[OrderRecord]:
        """All orders of which this is known."""
        return (order for order in self.orders.values() if order.outcome is outcome)
