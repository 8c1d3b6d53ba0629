"""The wallet's HTTP contract (SPEC 5.1-5.5): bodies, answers, and how they become the port's values and back.

Both the service and its client are made of these; the description of the API is generated from them.  Amounts are
decimal strings, ids UUID texts.
"""

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from trade_engine.domain.patterns import whole
from trade_engine.domain.scale import ScaleError, format_units, parse_units
from trade_engine.wallet.port import MAX_AMOUNT, Outcome, Release, Reserve, SettleTrade

BATCH_MAX: Final = 1_000
PREFIX: Final = "/api/v1/wallets"

Id = Annotated[str, Meta(pattern=whole("[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"), description="a UUID")]
Asset = Annotated[str, Meta(pattern=whole("[A-Z0-9]{1,15}"), description="an asset, such as USDT")]
Amount = Annotated[str, Meta(max_length=40, description="a plain decimal with at most 8 decimals")]
Reason = Annotated[str, Meta(pattern=whole(r"[^\u0000]*"), max_length=200)]
Epoch = Annotated[int, Meta(ge=0, le=9_007_199_254_740_991, description="of the engine's writer")]

#: HTTP status of each refusal (SPEC 5.5).
STATUS: Final = {
    "INSUFFICIENT_BALANCE": 400,
    "INVALID_AMOUNT": 400,
    "INVALID_REQUEST": 400,
    "UNAUTHORIZED": 401,
    "FORBIDDEN": 403,
    "USER_NOT_FOUND": 404,
    "RESERVATION_NOT_FOUND": 404,
    "ROUTE_NOT_FOUND": 404,
    "METHOD_NOT_ALLOWED": 405,
    "IDEMPOTENCY_CONFLICT": 409,
    "STALE_EPOCH": 409,
    "EPOCH_TOO_FAR": 409,
    "BODY_TOO_LARGE": 413,
    "INTERNAL_ERROR": 500,
    "WALLET_UNAVAILABLE": 503,
}


class _Body(msgspec.Struct, forbid_unknown_fields=True, gc=False, omit_defaults=True):
    """Base of bodies: an unknown field is an error."""


class ReserveBody(_Body, kw_only=True):
    """POST reserve: move available balance to reserved, for an order; idempotent by operation_id (default order_id)."""

    user_id: Id
    asset: Asset
    amount: Amount
    order_id: Id
    operation_id: Id | None = None
    reason: Reason = "order"
    epoch: Epoch | None = None


class ReleaseBody(_Body, kw_only=True):
    """POST release: back to available; without an amount all that is left, and later reserves of it are refused."""

    order_id: Id
    reservation_id: Id | None = None
    user_id: Id | None = None
    asset: Asset | None = None
    amount: Amount | None = None
    operation_id: Id | None = None
    reason: Reason = "released"


class SettleBody(_Body, kw_only=True):
    """POST settle-trade: the money of one trade and its fees, out of both orders' reservations.

    A side without order and reservation is taken from what its user has reserved of the asset, oldest first.
    """

    trade_id: Id
    buyer_user_id: Id
    seller_user_id: Id
    base_asset: Asset
    quote_asset: Asset
    quantity: Amount
    price: Amount
    buyer_fee: Amount
    seller_fee: Amount
    buyer_fee_asset: Asset
    seller_fee_asset: Asset
    buyer_order_id: Id | None = None
    seller_order_id: Id | None = None
    buyer_reservation_id: Id | None = None
    seller_reservation_id: Id | None = None


class FundBody(_Body, kw_only=True):
    """POST deposit, withdraw.  Idempotent by operation_id."""

    user_id: Id
    asset: Asset
    amount: Amount
    operation_id: Id


class ReserveBatch(_Body, kw_only=True):
    """POST reserve/batch, in order."""

    epoch: Epoch
    items: Annotated[list[ReserveBody], Meta(max_length=BATCH_MAX)]


class FenceBody(_Body, kw_only=True):
    """POST fence: reserves of lower epochs are refused from now on; 0 only asks where the fence is."""

    epoch: Epoch


class ReleaseBatch(_Body, kw_only=True):
    """POST release/batch."""

    items: Annotated[list[ReleaseBody], Meta(max_length=BATCH_MAX)]


class SettleBatch(_Body, kw_only=True):
    """POST settle-trade/batch."""

    items: Annotated[list[SettleBody], Meta(max_length=BATCH_MAX)]


class KnownBody(_Body, kw_only=True):
    """POST known: which of these trades and releases were carried out."""

    operation_ids: Annotated[list[Id], Meta(max_length=BATCH_MAX)]


class ItemOutcome(msgspec.Struct, gc=False, omit_defaults=True):
    """One item's outcome; ``code`` is OK or one of the error codes."""

    code: str
    available_balance: str = "0"
    reserved_balance: str = "0"
    reservation_id: str = ""
    amount: str = "0"
    message: str = ""


class BatchAnswer(msgspec.Struct):
    """One outcome an item, in the items' order."""

    success: bool
    outcomes: list[ItemOutcome]


class FenceAnswer(msgspec.Struct):
    """The fence now; ``code`` is OK, STALE_EPOCH (it is above the epoch) or EPOCH_TOO_FAR (it is far below it)."""

    success: bool
    code: str
    epoch: int


class ReserveAnswer(msgspec.Struct):
    """What a reserve left."""

    success: bool
    reservation_id: str
    available_balance: str
    reserved_balance: str


class ReleaseAnswer(msgspec.Struct):
    """What a release freed and left."""

    success: bool
    released_amount: str
    available_balance: str
    reserved_balance: str


class Holding(msgspec.Struct):
    """Available and reserved of one asset."""

    available: str
    reserved: str


class SettleAnswer(msgspec.Struct):
    """What a trade left; the same each time."""

    success: bool
    buyer_ledger_entry_id: str
    seller_ledger_entry_id: str
    buyer_balances: dict[str, Holding]
    seller_balances: dict[str, Holding]


class FundAnswer(msgspec.Struct):
    """What a deposit or withdrawal left."""

    success: bool
    available_balance: str
    reserved_balance: str


class BalancesAnswer(msgspec.Struct):
    """All holdings of a user by asset."""

    success: bool
    balances: dict[str, Holding]


class LedgerEntry(msgspec.Struct):
    """One entry of the ledger."""

    id: str
    operation_id: str
    type: str
    user_id: str
    asset: str
    available_delta: str
    reserved_delta: str
    available_after: str
    reserved_after: str
    reference_id: str
    description: str


class LedgerAnswer(msgspec.Struct):
    """A page of entries, newest first; ``next_before`` asks for the next page, null after the last."""

    success: bool
    entries: list[LedgerEntry]
    next_before: str | None


class OpenReservation(msgspec.Struct):
    """What is left of an order's reservation."""

    order_id: str
    user_id: str
    asset: str
    remaining: str
    epoch: int


class ReservationsAnswer(msgspec.Struct):
    """A page of reservations by order id."""

    success: bool
    reservations: list[OpenReservation]


class SettledTrade(msgspec.Struct):
    """What the ledger moved for a trade."""

    trade_id: str
    notional: str
    quantity: str
    buyer_fee: str
    seller_fee: str
    buyer_user_id: str = ""
    seller_user_id: str = ""


class SettlementsAnswer(msgspec.Struct):
    """A page of settled trades by trade id."""

    success: bool
    settlements: list[SettledTrade]


class KnownAnswer(msgspec.Struct):
    """Those that were carried out."""

    success: bool
    operation_ids: list[str]


class DifferenceRow(msgspec.Struct):
    """Two accounts of one thing that do not agree."""

    check: str
    subject: str
    asset: str
    left: str
    right: str


class AuditAnswer(msgspec.Struct):
    """What in the ledger does not agree with itself."""

    success: bool
    differences: list[DifferenceRow]


class Problem(msgspec.Struct):
    """Why not."""

    code: str
    message: str
    details: dict[str, str]


class Failure(msgspec.Struct):
    """A refusal."""

    success: bool
    error: Problem


def units_of(text: str) -> int:
    """An amount in units of 1e-8; what no movement can have (unreadable, too large) is -1, which every rule refuses."""
    try:
        units = parse_units(text)
    except ScaleError:
        return -1
    return units if units <= MAX_AMOUNT else -1


def reserve_of(body: ReserveBody) -> Reserve:
    """The port's reserve."""
    order_id = body.order_id.lower()
    operation = (body.operation_id or order_id).lower()
    return Reserve(body.user_id.lower(), body.asset, units_of(body.amount), order_id, operation, body.reason)


def release_of(body: ReleaseBody, user_id: str, asset: str) -> Release:
    """The port's release of ``user_id``'s ``asset``."""
    order_id = body.order_id.lower()
    amount = None if body.amount is None else units_of(body.amount)
    return Release(order_id, user_id, asset, amount, (body.operation_id or order_id).lower(), body.reason)


def settle_of(body: SettleBody) -> SettleTrade:
    """The port's settlement; a price x quantity that is not whole units of 1e-8 is refused as an amount."""
    price, quantity = units_of(body.price), units_of(body.quantity)
    notional, rest = divmod(price * quantity, 10**8) if price > 0 and quantity > 0 else (-1, 0)
    return SettleTrade(
        body.trade_id.lower(),
        body.buyer_user_id.lower(),
        body.seller_user_id.lower(),
        body.base_asset,
        body.quote_asset,
        quantity,
        -1 if rest else notional,
        price,
        units_of(body.buyer_fee),
        units_of(body.seller_fee),
        body.buyer_fee_asset,
        body.seller_fee_asset,
        (body.buyer_order_id or body.buyer_reservation_id or "").lower(),
        (body.seller_order_id or body.seller_reservation_id or "").lower(),
    )


def reserve_body(item: Reserve) -> ReserveBody:
    """A reserve for the wire."""
    return ReserveBody(
        user_id=item.user_id,
        asset=item.asset,
        amount=format_units(item.amount),
        order_id=item.order_id,
        operation_id=item.operation_id,
        reason=item.reason,
    )


def release_body(item: Release) -> ReleaseBody:
    """A release for the wire."""
    return ReleaseBody(
        order_id=item.order_id,
        user_id=item.user_id,
        asset=item.asset,
        amount=None if item.amount is None else format_units(item.amount),
        operation_id=item.operation_id,
        reason=item.reason,
    )


def settle_body(item: SettleTrade) -> SettleBody:
    """A settlement for the wire."""
    return SettleBody(
        trade_id=item.trade_id,
        buyer_user_id=item.buyer_user_id,
        seller_user_id=item.seller_user_id,
        base_asset=item.base_asset,
        quote_asset=item.quote_asset,
        quantity=format_units(item.quantity),
        price=format_units(item.price),
        buyer_fee=format_units(item.buyer_fee),
        seller_fee=format_units(item.seller_fee),
        buyer_fee_asset=item.buyer_fee_asset,
        seller_fee_asset=item.seller_fee_asset,
        buyer_order_id=item.buyer_order_id or None,
        seller_order_id=item.seller_order_id or None,
    )


def outcome_row(outcome: Outcome) -> ItemOutcome:
    """An outcome for the wire."""
    return ItemOutcome(
        outcome.code,
        format_units(outcome.available),
        format_units(outcome.reserved),
        outcome.reservation_id,
        format_units(outcome.amount),
        outcome.message,
    )


def outcome_of(row: ItemOutcome) -> Outcome:
    """The port's outcome.

    Raises:
        ScaleError: an amount cannot be read.
    """
    return Outcome(
        row.code,
        parse_units(row.available_balance),
        parse_units(row.reserved_balance),
        row.reservation_id,
        parse_units(row.amount),
        row.message,
    )
