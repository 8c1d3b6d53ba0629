"""A wallet in memory: the whole contract in plain Python, the readable oracle of the PostgreSQL one and a fake.

It keeps nothing over a restart.  Each item is decided and written before the next is looked at.
"""

import itertools
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from trade_engine.wallet.ledger import (
    DEPOSIT_LINE,
    FEE_ACCOUNTS,
    RELEASE_LINE,
    RESERVE_LINE,
    WITHDRAWAL_LINE,
    describe_trade,
    funding_lines,
    refusal,
    release_line,
    reserve_line,
    trade_is_valid,
    trade_lines,
)
from trade_engine.wallet.port import (
    FENCE_REACH,
    MAX_AMOUNT,
    AuditedReservation,
    Balance,
    Difference,
    Entry,
    EntryType,
    Fence,
    Line,
    Outcome,
    Release,
    Reserve,
    Settlement,
    SettleTrade,
    buyer_need,
    seller_need,
)


@dataclass(slots=True)
class _Reservation:
    user_id: str
    asset: str
    remaining: int
    closed: bool = False
    epoch: int = 0
    #: In which call it was made: oldest first.
    made: int = 0

    def is_of(self, user_id: str, asset: str) -> bool:
        return self.remaining > 0 and self.user_id == user_id and self.asset == asset


@dataclass(slots=True)
class _Holding:
    available: int = 0
    reserved: int = 0


@dataclass(slots=True)
class MemoryWallet:
    """The wallet port on dictionaries; see the module.  Safe for one event loop: nothing awaits half-way."""

    entries: list[Entry] = field(default_factory=list)
    epoch: int = 0
    #: How far above ``epoch`` another one is believed; None: however far, as it forgets where it was.
    reach: int | None = FENCE_REACH
    _calls: int = 0
    _holdings: dict[tuple[str, str], _Holding] = field(default_factory=dict)
    _reservations: dict[str, _Reservation] = field(default_factory=dict)
    #: Entries by operation and line number.
    _index: dict[str, dict[int, Entry]] = field(default_factory=lambda: defaultdict(dict))

    #: There is none: it is in this process.
    breaker: None = None

    @property
    def is_out(self) -> bool:
        """Never: it is in this process."""
        return False

    def condition(self) -> None:
        """As the database is."""

    async def aclose(self) -> None:
        """Nothing: it only holds memory."""

    async def reserve_many(self, items: Sequence[Reserve], epoch: int) -> list[Outcome]:
        """Reserve, in order; a lower epoch than was seen before is refused, and one far above it."""
        fence = await self.raise_fence(epoch)
        if fence.code != "OK":
            return [refusal(fence.code) for _ in items]
        self._calls += 1
        return [self._reserve(item) for item in items]

    async def raise_fence(self, epoch: int) -> Fence:
        """Refuse reserves of lower epochs from now on."""
        if self.reach is not None and epoch - self.reach > self.epoch:
            return Fence("EPOCH_TOO_FAR", self.epoch)
        if epoch < self.epoch:
            return Fence("STALE_EPOCH", self.epoch)
        self.epoch = epoch
        return Fence("OK", epoch)

    async def release_many(self, items: Sequence[Release]) -> list[Outcome]:
        """Release, each item on its own."""
        return [self._release(item) for item in items]

    async def settle_many(self, items: Sequence[SettleTrade]) -> list[Outcome]:
        """Settle trades, each atomic on its own."""
        return [self._settle(item) for item in items]

    async def deposit(self, user_id: str, asset: str, amount: int, operation_id: str) -> Outcome:
        """Credit a user from the outside account."""
        return self._fund(EntryType.DEPOSIT, user_id, asset, amount, operation_id)

    async def withdraw(self, user_id: str, asset: str, amount: int, operation_id: str) -> Outcome:
        """Debit a user's available balance to the outside account."""
        return self._fund(EntryType.WITHDRAWAL, user_id, asset, amount, operation_id)

    async def balances(self, user_id: str) -> list[Balance]:
        """All balances of a user, sorted by asset."""
        return sorted(
            Balance(asset, holding.available, holding.reserved)
            for (owner, asset), holding in self._holdings.items()
            if owner == user_id
        )

    async def ledger(self, user_id: str, before_id: int, limit: int) -> list[Entry]:
        """A page of a user's entries, newest first."""
        found = (each for each in reversed(self.entries) if each.line.user_id == user_id and each.entry_id < before_id)
        return list(itertools.islice(found, limit))

    async def audit(self) -> list[Difference]:
        """What in the ledger does not agree with itself: balances against entries."""
        sums: dict[tuple[str, str], _Holding] = defaultdict(_Holding)
        for entry in self.entries:
            held = sums[entry.line.user_id, entry.line.asset]
            held.available += entry.line.available_delta
            held.reserved += entry.line.reserved_delta
        return [
            Difference(
                "balance", f"user {user}", asset, f"balance: {self._holdings.get((user, asset))}", f"entries: {held}"
            )
            for (user, asset), held in sums.items()
            if held != self._holdings.get((user, asset))
        ]

    async def reservations_after(self, order_id: str, limit: int) -> list[AuditedReservation]:
        """The next reservations above ``order_id``."""
        found = sorted(key for key, held in self._reservations.items() if key > order_id and held.remaining)
        return [
            AuditedReservation(key, held.user_id, held.asset, held.remaining, held.epoch)
            for key in found[:limit]
            for held in (self._reservations[key],)
        ]

    async def settlements_after(self, trade_id: str, limit: int) -> list[Settlement]:
        """The next settled trades above ``trade_id``."""
        found = sorted(key for key, lines in self._index.items() if key > trade_id and 1 in lines)
        return [self._settlement(key) for key in found[:limit]]

    async def known(self, operation_ids: Sequence[str]) -> set[str]:
        """Which of these trades and releases were carried out."""
        return {key for key in operation_ids if key in self._index and {1, RELEASE_LINE} & self._index[key].keys()}

    def _settlement(self, trade_id: str) -> Settlement:
        lines = {number: entry.line for number, entry in self._index[trade_id].items()}
        buyer_fee, seller_fee = (
            -sum((lines[n].available_delta, lines[n].reserved_delta)) if n in lines else 0 for n in (5, 6)
        )
        notional, quantity = -lines[1].reserved_delta, lines[2].available_delta
        return Settlement(trade_id, notional, quantity, buyer_fee, seller_fee, lines[1].user_id, lines[3].user_id)

    def _reserve(self, item: Reserve) -> Outcome:
        if not 0 < item.amount <= MAX_AMOUNT:
            return refusal("INVALID_AMOUNT")
        line = reserve_line(item)
        first = self._index[item.operation_id].get(RESERVE_LINE)
        if first is not None:
            if (first.line, first.reference_id) != (line, item.order_id):
                return refusal("IDEMPOTENCY_CONFLICT")
            return Outcome("OK", first.available_after, first.reserved_after, item.order_id, item.amount)
        held = self._reservations.get(item.order_id)
        if held is not None and not held.is_of(item.user_id, item.asset):
            return refusal("IDEMPOTENCY_CONFLICT")
        shortage = self._shortage(item.user_id, item.asset, item.amount)
        if shortage is not None:
            return shortage
        [entry] = self._write(item.operation_id, [line], item.order_id, item.reason)
        if held is None:
            self._reservations[item.order_id] = _Reservation(
                item.user_id, item.asset, item.amount, epoch=self.epoch, made=self._calls
            )
        else:
            held.remaining += item.amount
            held.epoch = self.epoch
        return Outcome("OK", entry.available_after, entry.reserved_after, item.order_id, item.amount)

    def _release(self, item: Release) -> Outcome:
        if item.amount is not None and not 0 < item.amount <= MAX_AMOUNT:
            return refusal("INVALID_AMOUNT")
        first = self._index[item.operation_id].get(RELEASE_LINE)
        if first is not None:
            released = first.line.available_delta
            amount = released if item.amount is None else item.amount
            if (first.line, first.reference_id) != (release_line(item, amount), item.order_id):
                return refusal("IDEMPOTENCY_CONFLICT")
            return Outcome("OK", first.available_after, first.reserved_after, item.order_id, released)
        held = self._reservations.get(item.order_id)
        if held is None or held.closed:
            if item.amount is not None:
                return refusal("RESERVATION_NOT_FOUND")
            if held is None:
                self._reservations[item.order_id] = _Reservation(item.user_id, item.asset, 0, closed=True)
            holding = self._holdings.get((item.user_id, item.asset), _Holding())
            return Outcome("OK", holding.available, holding.reserved, item.order_id, 0)
        if not held.is_of(item.user_id, item.asset):
            return refusal("RESERVATION_NOT_FOUND")
        amount = held.remaining if item.amount is None else item.amount
        if amount > held.remaining:
            return refusal("INVALID_AMOUNT")
        [entry] = self._write(item.operation_id, [release_line(item, amount)], item.order_id, item.reason)
        held.closed = item.amount is None
        self._spend(item.order_id, amount)
        return Outcome("OK", entry.available_after, entry.reserved_after, item.order_id, amount)

    def _settle(self, item: SettleTrade) -> Outcome:
        if not trade_is_valid(item):
            return refusal("INVALID_AMOUNT")
        written = [entry for number, entry in sorted(self._index[item.trade_id].items()) if number < RESERVE_LINE]
        if written:
            if _sides(entry.line for entry in written) != _sides(trade_lines(item, FEE_ACCOUNTS[0])):
                return refusal("IDEMPOTENCY_CONFLICT")
            return _settled(item, written)
        sides = (
            (item.buyer_order_id, item.buyer_user_id, item.quote_asset, buyer_need(item)),
            (item.seller_order_id, item.seller_user_id, item.base_asset, seller_need(item)),
        )
        parts: list[tuple[str, int]] = []
        for _, user_id, asset, need in [side for side in sides if not side[0]]:
            gathered = self._gathered(user_id, asset, need)
            if gathered is None:
                return refusal("INSUFFICIENT_BALANCE")
            parts += gathered
        named = [(order_id, need) for order_id, _, _, need in sides if order_id]
        for order_id, user_id, asset, _ in sides:
            held = self._reservations.get(order_id)
            if order_id and (held is None or not held.is_of(user_id, asset)):
                return refusal("RESERVATION_NOT_FOUND")
        if any(self._reservations[order_id].remaining < need for order_id, need in named):
            return refusal("INSUFFICIENT_BALANCE")
        lines = trade_lines(item, FEE_ACCOUNTS[0])
        written = self._write(item.trade_id, lines, item.trade_id, describe_trade(item))
        for order_id, amount in [*parts, *named]:
            self._spend(order_id, amount)
        return _settled(item, written)

    def _gathered(self, user_id: str, asset: str, need: int) -> list[tuple[str, int]] | None:
        """What each of a user's reservations gives to a need, oldest first; None if they do not cover it."""
        parts: list[tuple[str, int]] = []
        held = [(kept.made, order_id, kept) for order_id, kept in self._reservations.items()]
        for _, order_id, kept in sorted(held, key=lambda each: each[:2]):
            if kept.is_of(user_id, asset) and need:
                parts.append((order_id, min(need, kept.remaining)))
                need -= parts[-1][1]
        return None if need else parts

    def _fund(self, kind: EntryType, user_id: str, asset: str, amount: int, operation_id: str) -> Outcome:
        if not 0 < amount <= MAX_AMOUNT:
            return refusal("INVALID_AMOUNT")
        lines = funding_lines(kind, user_id, asset, amount)
        number = DEPOSIT_LINE if kind is EntryType.DEPOSIT else WITHDRAWAL_LINE
        first = self._index[operation_id].get(number)
        if first is None:
            shortage = self._shortage(user_id, asset, amount) if kind is EntryType.WITHDRAWAL else None
            if shortage is not None:
                return refusal(shortage.code)
            first = self._write(operation_id, lines, operation_id, kind.value.lower())[0]
        elif first.line != lines[0]:
            return refusal("IDEMPOTENCY_CONFLICT")
        return Outcome("OK", first.available_after, first.reserved_after, amount=amount)

    def _shortage(self, user_id: str, asset: str, amount: int) -> Outcome | None:
        holding = self._holdings.get((user_id, asset))
        if holding is not None and holding.available >= amount:
            return None
        known = any(owner == user_id for owner, _ in self._holdings)
        if not known:
            return refusal("USER_NOT_FOUND")
        there = holding or _Holding()
        return refusal("INSUFFICIENT_BALANCE", there.available, there.reserved)

    def _spend(self, order_id: str, amount: int) -> None:
        held = self._reservations[order_id]
        held.remaining -= amount
        if not held.remaining and not held.closed:
            del self._reservations[order_id]

    def _write(self, operation_id: str, lines: Sequence[Line], reference: str, description: str) -> list[Entry]:
        written = []
        for line in lines:
            holding = self._holdings.setdefault((line.user_id, line.asset), _Holding())
            holding.available += line.available_delta
            holding.reserved += line.reserved_delta
            number = len(self.entries) + 1
            entry = Entry(
                number, operation_id, line, holding.available, holding.reserved, reference, description
            )  # fmt: skip
            self.entries.append(entry)
            self._index[operation_id][line.number] = entry
            written.append(entry)
        return written


def _sides(lines: Iterable[Line]) -> list[Line]:
    """The lines of buyer and seller: what the exchange received follows from them."""
    return [line for line in lines if line.number < 7]


def _settled(item: SettleTrade, written: Sequence[Entry]) -> Outcome:
    last = [e for e in written if e.line.user_id == item.buyer_user_id and e.line.asset == item.base_asset][-1]
    return Outcome("OK", last.available_after, last.reserved_after, amount=item.quantity)
