"""The planted bugs: each a plausible mistake, as exact edits of one file.

An edit whose text is not found exactly once is an error, so the list cannot rot unseen.
"""

from typing import Final, NamedTuple


class Bug(NamedTuple):
    """One planted bug."""

    name: str
    #: Which of the two books it is planted in.
    book: str
    path: str
    #: Pairs of what stands there and what is planted instead.
    edits: tuple[tuple[str, str], ...]


_PYTHON: Final = "src/trade_engine/matching"
_NATIVE: Final = "native/src"


def _reference(name: str, file: str, *edits: tuple[str, str]) -> Bug:
    return Bug(name, "reference", f"{_PYTHON}/{file}.py", edits)


def _native(name: str, file: str, *edits: tuple[str, str]) -> Bug:
    return Bug(name, "native", f"{_NATIVE}/{file}", edits)


BUGS: Final = (
    _reference("wrong side of the queue", "taker", ("maker = level.head\n", "maker = level.tail\n")),
    _reference("lost remainder of a limit order", "taker", ("        book.rest(taker)\n", "        pass\n")),
    _reference(
        "stale best price after the best level is gone",
        "ladder",
        (
            "self.best = self._levels[-self._descending[-1]] if self._descending else None",
            "self.best = self._levels[-self._descending[0]] if self._descending else None",
        ),
    ),
    _reference(
        "an order can be cancelled twice",
        "book_state",
        (
            "        del self.orders[order.order_number]\n",
            "        if order.waiting:\n            del self.orders[order.order_number]\n",
        ),
    ),
    _reference(
        "FOK fills in part",
        "taker",
        ("_foresee(book, taker, worst) != _WHOLE", "not would_take(book, taker.side, taker.price)"),
    ),
    _reference(
        "FOK does not see hidden parts",
        "taker",
        ("            if leaves > shown:\n", "            if leaves < shown:\n"),
    ),
    _reference(
        "FOK counts both legs of a pair",
        "taker",
        ("gone.add(maker.linked_number)", "gone.discard(maker.linked_number)"),
    ),
    _reference(
        "self-trade prevention ignored",
        "taker",
        (
            "            if _prevent_self_trade(book, taker, maker):\n",
            "            if _fill(book, taker, maker, level, affordable):\n",
        ),
    ),
    _reference(
        "DECREMENT takes off the visible part only",
        "taker",
        ("min(taker.leaves, maker.leaves)", "min(taker.leaves, maker.display_remaining)"),
    ),
    _reference(
        "an iceberg's refill keeps its priority",
        "taker",
        ("    level.unlink(maker)\n", ""),
        ("    level.append(maker)\n", "    level.visible += maker.display_remaining\n"),
        ("    maker.priority = book.next_priority()\n", ""),
    ),
    _reference(
        "stop trigger off by one tick",
        "triggers",
        (
            "is not None and level.key <= reached:\n                return",
            "is not None and level.key < reached:\n                return",
        ),
    ),
    _reference(
        "stop trigger of version 0.1 off by one tick",
        "triggers",
        ("stops.best) is not None and level.key <= reached", "stops.best) is not None and level.key < reached"),
    ),
    _reference(
        "the budget does not count the cascade",
        "taker",
        ("    if not book.rules & CASCADE_BUDGET:\n        book.met = 0\n", "    book.met = 0\n"),
    ),
    _reference("the budget starts any number of stops", "triggers", ("book.started < book.max_fills and ", "")),
    _reference(
        "a stop is cut by the fills of those before it",
        "triggers",
        (" and (not book.met or comes_to_its_end(book, order))", ""),
    ),
    _reference(
        "what waits goes on with the SELLs",
        "triggers",
        (
            "((BUY, book.reached_high), (SELL, -book.reached_low))",
            "((SELL, -book.reached_low), (BUY, book.reached_high))",
        ),
    ),
    _reference(
        "what waits goes on by the latest trade",
        "triggers",
        (
            "    while (order := _next_in_turn(book))",
            "    book.reached_high = max(book.reached_high, book.next_high)\n    while (order := _next_in_turn(book))",
        ),
    ),
    _reference(
        "the stops that wait are not in the hash",
        "state_hash",
        ("_hash(record if any(memory[8:])", "_hash(record[:72] if any(memory[8:])"),
    ),
    _reference(
        "the stops that wait are forgotten by a restart",
        "book_state",
        (
            "            self.reached_high, self.reached_low, self.next_high, self.next_low,\n        ) = memory",
            "            self.reached_high, self.reached_low, *_,\n        ) = memory",
        ),
    ),
    _reference(
        "an order enters before the stops that wait",
        "checks",
        (
            "    return Reason.TRIGGERS_WAITING if book.reached_high else FINE\n\n\ndef outside",
            "    return FINE\n\n\ndef outside",
        ),
    ),
    _reference(
        "an amended order passes the stops that wait",
        "checks",
        (
            "Reason.TRIGGERS_WAITING if enters and book.reached_high else",
            "Reason.TRIGGERS_WAITING if enters and not book.priority else",
        ),
    ),
    _reference("a halted market starts stops", "checks", ("(PLACE, AMEND, TRIGGER)", "(PLACE, AMEND)")),
    _reference(
        "amending the quantity up keeps priority",
        "reference",
        ("stop_price == order.stop_price and quantity <= order.quantity:", "stop_price == order.stop_price:"),
    ),
    _reference(
        "orders of one time expire newest first",
        "expiry",
        (
            "heappush(self._heap, (order.expires_us, order.order_number))",
            "heappush(self._heap, (order.expires_us, -order.order_number))",
        ),
        ("order = self._orders.get(order_number)", "order = self._orders.get(abs(order_number))"),
    ),
    _reference(
        "a buyer spends more than he may",
        "taker",
        ("(taker.max_notional - taker.spent_notional) // price", "taker.max_notional // price"),
    ),
    _reference("a filled leg leaves the other one", "taker", ("    book.cancel_linked(maker)\n", "")),
    _reference(
        "one fill too many a command",
        "taker",
        ("met == book.max_fills:\n            return Reason", "met > book.max_fills:\n            return Reason"),
    ),
    _reference(
        "a halted market lets cancels in",
        "checks",
        ("(book.state == CANCEL_ONLY or", "(book.state != CLOSED or"),
    ),
    _reference(
        "the price band refuses its own edge",
        "checks",
        ("* _PPM > book.price_band_ppm", "* _PPM >= book.price_band_ppm"),
    ),
    _reference(
        "a damaged snapshot is taken",
        "snapshot",
        ("if _checksum(memoryview(snapshot)[:end]) != snapshot[end:]:", "if len(_checksum(b'')) > end:"),
    ),
    _native("wrong side of the queue", "taker.cpp", ("Order* maker = level->head;", "Order* maker = level->tail;")),
    _native(
        "lost remainder of a limit order",
        "taker.cpp",
        ("    } else {\n        rest(taker);", "    } else {\n        pool_.release(taker);"),
    ),
    _native(
        "stale best price when a better level comes",
        "ladder.hpp",
        ("if (best_ == nullptr || key < best_->key) best_ = level;", "if (best_ == nullptr) best_ = level;"),
    ),
    _native(
        "FOK fills in part",
        "taker.cpp",
        ("foresee(taker, worst) != Outlook::WHOLE", "!would_take(taker->side, taker->price)"),
    ),
    _native(
        "self-trade prevention ignored",
        "taker.cpp",
        (
            "if (maker->user == taker->user && taker->stp != ALLOWED) {\n            if (prevent",
            "if (false) {\n            if (prevent",
        ),
    ),
    _native(
        "an iceberg's refill keeps its priority",
        "taker.cpp",
        ("    level->unlink(maker);\n", ""),
        ("    level->append(maker);\n", "    level->visible += maker->display_remaining;\n"),
        ("    maker->priority = ++priority_;\n", ""),
    ),
    _native(
        "stop trigger off by one tick",
        "triggers.cpp",
        ("level != nullptr && level->key <= reached[side]", "level != nullptr && level->key < reached[side]"),
    ),
    _native(
        "the budget does not count the cascade",
        "taker.cpp",
        ("    if ((rules_ & CASCADE_BUDGET) == 0) met_ = 0;\n", "    met_ = 0;\n"),
    ),
    _native(
        "a stop is cut by the fills of those before it",
        "triggers.cpp",
        (
            "met_ == 0 || foresee(order, limit_key(order)) != Outlook::TOO_LONG",
            "met_ <= max_fills_ && limit_key(order) != 0",
        ),
    ),
    _native(
        "what waits goes on with the SELLs",
        "triggers.cpp",
        (
            "for (const Side side : {BUY, SELL}) {\n            const Level*",
            "for (const Side side : {SELL, BUY}) {\n            const Level*",
        ),
    ),
    _native(
        "the stops that wait are not in the hash",
        "book_state.cpp",
        (
            "if (memory.rules != 0 || memory.reached_high != 0 || memory.next_high != 0) return",
            "if (memory.rules > 1) return",
        ),
    ),
    _native(
        "an order enters before the stops that wait",
        "checks.cpp",
        (
            "    return reached_high_ != 0 ? Reason::TRIGGERS_WAITING",
            "    return reached_high_ < 0 ? Reason::TRIGGERS_WAITING",
        ),
    ),
    _native(
        "amending the quantity up keeps priority",
        "book.cpp",
        ("stop_price == order->stop_price && quantity <= order->quantity)", "stop_price == order->stop_price)"),
    ),
    _native(
        "orders of one time expire newest first",
        "book.hpp",
        ("order_number > o.order_number;", "order_number < o.order_number;"),
    ),
    _native(
        "a buyer spends more than he may",
        "taker.cpp",
        ("(taker->max_notional - taker->spent_notional) / price", "taker->max_notional / price"),
    ),
    _native("a partly filled maker keeps its old hash", "taker.cpp", ("        touch(maker);\n", "")),
)
