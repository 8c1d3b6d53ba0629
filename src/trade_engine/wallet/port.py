"""What the engine may know of the wallet: one interface with several implementations (SPEC 5, DESIGN 5).

Amounts are units of 1e-8, ids canonical UUID texts.  Each item of a batch has its own outcome; an item repeated
with the same operation gives its first outcome again.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Final, NamedTuple, Protocol

#: The largest amount of one movement: it travels as a 64-bit integer.
MAX_AMOUNT: Final = 2**63 - 1
#: How long an audit may take: it reads the whole ledger, some 10 seconds a million entries.
AUDIT_TIMEOUT_S: Final = 3_600.0
#: What an item can be refused with; it has then left no trace.
REFUSALS: Final = frozenset(
    (
        "INSUFFICIENT_BALANCE", "INVALID_AMOUNT", "USER_NOT_FOUND", "RESERVATION_NOT_FOUND", "IDEMPOTENCY_CONFLICT",
        "STALE_EPOCH", "EPOCH_TOO_FAR",
    )
)  # fmt: skip

#: How far above its fence the wallet believes an epoch, as ``wallet.fence_reach`` has it.
FENCE_REACH: Final = 1_000


class EntryType(StrEnum):
    """What an entry is of."""

    RESERVE = "RESERVE"
    RELEASE = "RELEASE"
    TRADE_BUY = "TRADE_BUY"
    TRADE_SELL = "TRADE_SELL"
    FEE = "FEE"
    DEPOSIT = "DEPOSIT"
    WITHDRAWAL = "WITHDRAWAL"


class Line(NamedTuple):
    """One movement of one balance, before it is written.  ``number`` is unique in its operation."""

    number: int
    type: EntryType
    user_id: str
    asset: str
    available_delta: int
    reserved_delta: int


class Entry(NamedTuple):
    """One entry of the ledger: a line, what its balance was after it, and what it was for."""

    entry_id: int
    operation_id: str
    line: Line
    available_after: int
    reserved_after: int
    reference_id: str
    description: str


class Reserve(NamedTuple):
    """Move ``amount`` of the user's available balance to reserved, for an order.  Idempotent by ``operation_id``."""

    user_id: str
    asset: str
    amount: int
    order_id: str
    operation_id: str
    reason: str = "order"


class Release(NamedTuple):
    """Move ``amount`` of an order's reservation back to available; None is all that is left, and refuses
    a reserve of that order that comes later.  Idempotent by ``operation_id``.
    """

    order_id: str
    user_id: str
    asset: str
    amount: int | None
    operation_id: str
    reason: str = "released"


class SettleTrade(NamedTuple):
    """Move a trade's money and its fees, out of both orders' reservations.  Idempotent by ``trade_id``.

    A side without an order id (empty) is taken from all that its user has reserved of the asset, oldest first.
    """

    trade_id: str
    buyer_user_id: str
    seller_user_id: str
    base_asset: str
    quote_asset: str
    quantity: int
    notional: int
    price: int
    buyer_fee: int
    seller_fee: int
    buyer_fee_asset: str
    seller_fee_asset: str
    buyer_order_id: str
    seller_order_id: str


def buyer_need(trade: SettleTrade) -> int:
    """What a trade takes out of the buyer's reservation, units of quote."""
    return trade.notional + (trade.buyer_fee if trade.buyer_fee_asset == trade.quote_asset else 0)


def seller_need(trade: SettleTrade) -> int:
    """What a trade takes out of the seller's reservation, units of base."""
    return trade.quantity + (trade.seller_fee if trade.seller_fee_asset == trade.base_asset else 0)


class Outcome(NamedTuple):
    """What became of one item: ``code`` is ``"OK"`` or one of SPEC 5.5."""

    code: str
    #: After the movement, of the user's (for a settlement: the buyer's received) asset; of a reserve that they do not
    #: cover: as they are.
    available: int = 0
    reserved: int = 0
    #: reservation_id, released amount, or ledger entry ids: what the contract answers, per kind.
    reservation_id: str = ""
    amount: int = 0
    message: str = ""

    @property
    def ok(self) -> bool:
        """Whether the movement happened (now or, for a repeat, the first time)."""
        return self.code == "OK"

    @property
    def is_certain(self) -> bool:
        """Whether it tells what happened: a code that the contract does not have may stand for anything."""
        return self.code == "OK" or self.code in REFUSALS


class Fence(NamedTuple):
    """The wallet's fence after having been asked to raise it; ``code`` is OK, STALE_EPOCH or EPOCH_TOO_FAR."""

    code: str
    #: Where the fence is now: a lower epoch may not reserve.
    epoch: int


class Balance(NamedTuple):
    """One user's holding of one asset."""

    asset: str
    available: int
    reserved: int


class AuditedReservation(NamedTuple):
    """A reservation as reconciliation sees it: with the epoch of the writer that made it."""

    order_id: str
    user_id: str
    asset: str
    remaining: int
    epoch: int


class Settlement(NamedTuple):
    """What the ledger moved for one trade, and whose it was; users are empty if an older wallet does not say."""

    trade_id: str
    notional: int
    quantity: int
    buyer_fee: int
    seller_fee: int
    buyer_user_id: str = ""
    seller_user_id: str = ""


class Difference(NamedTuple):
    """Two accounts of the same thing that do not agree; ``left`` and ``right`` each name their side and its value."""

    check: str
    subject: str
    asset: str
    left: str
    right: str

    def __str__(self) -> str:
        """In words."""
        return f"{self.check}: {self.subject} {self.asset}: {self.left}; {self.right}"


class WalletUnavailable(Exception):
    """The wallet did not answer, or not in time: what was asked may or may not have happened."""

    #: False if what was asked cannot have happened: it was never sent.
    sent = True


class BreakerState(StrEnum):
    """Whether calls pass."""

    CLOSED = "CLOSED"
    OPEN = "OPEN"
    HALF_OPEN = "HALF_OPEN"


class Breaker(Protocol):
    """What keeps calls from a wallet that is away."""

    #: How often it has opened.
    opened: int

    @property
    def state(self) -> BreakerState:
        """Whether calls pass now."""


class Wallet(Protocol):
    """The wallet as the engine sees it."""

    @property
    def breaker(self) -> Breaker | None:
        """What keeps calls from it while it is away; None: nothing does."""

    @property
    def is_out(self) -> bool:
        """Whether it is known to be away: a call would be refused without being sent."""

    def condition(self) -> str | None:
        """``ok`` or what is wrong, for readiness; None: it is as the engine's own database is."""

    async def aclose(self) -> None:
        """Close what was opened for it; the wallet is not used afterwards."""

    async def reserve_many(self, items: Sequence[Reserve], epoch: int) -> list[Outcome]:
        """Reserve for a micro-batch of orders, in order.  ``epoch``: of the engine's writer; a lower one than was
        seen before answers STALE_EPOCH, one far above it EPOCH_TOO_FAR.

        Raises:
            WalletUnavailable: nothing is known of the outcome.
        """

    async def raise_fence(self, epoch: int) -> Fence:
        """Refuse reserves of writers below ``epoch`` from now on; 0 only asks where the fence is.

        Raises:
            WalletUnavailable: nothing is known of the outcome.
        """

    async def release_many(self, items: Sequence[Release]) -> list[Outcome]:
        """Release, each item on its own.

        Raises:
            WalletUnavailable: nothing is known of the outcome.
        """

    async def settle_many(self, items: Sequence[SettleTrade]) -> list[Outcome]:
        """Settle trades, each atomic on its own.

        Raises:
            WalletUnavailable: nothing is known of the outcome.
        """

    async def balances(self, user_id: str) -> list[Balance]:
        """All balances of a user, sorted by asset; empty for an unknown one.

        Raises:
            WalletUnavailable: the wallet did not answer.
        """

    async def deposit(self, user_id: str, asset: str, amount: int, operation_id: str) -> Outcome:
        """Credit a user from the outside account.  Idempotent by ``operation_id``.

        Raises:
            WalletUnavailable: nothing is known of the outcome.
        """

    async def withdraw(self, user_id: str, asset: str, amount: int, operation_id: str) -> Outcome:
        """Debit a user's available balance to the outside account.  Idempotent by ``operation_id``.

        Raises:
            WalletUnavailable: nothing is known of the outcome.
        """

    async def ledger(self, user_id: str, before_id: int, limit: int) -> "list[Entry]":
        """A page of a user's entries, newest first: those below ``before_id``.

        Raises:
            WalletUnavailable: the wallet did not answer.
        """


class AuditedWallet(Wallet, Protocol):
    """A wallet whose books reconciliation may read."""

    async def audit(self) -> list[Difference]:
        """What in the ledger does not agree with itself.

        Raises:
            WalletUnavailable: the wallet did not answer.
        """

    async def reservations_after(self, order_id: str, limit: int) -> list[AuditedReservation]:
        """The next reservations above ``order_id`` of which something is left, by order id.

        Raises:
            WalletUnavailable: the wallet did not answer.
        """

    async def settlements_after(self, trade_id: str, limit: int) -> list[Settlement]:
        """The next settled trades above ``trade_id``, by trade id.

        Raises:
            WalletUnavailable: the wallet did not answer.
        """

    async def known(self, operation_ids: Sequence[str]) -> set[str]:
        """Which of these trades and releases the ledger has carried out.

        Raises:
            WalletUnavailable: the wallet did not answer.
        """
