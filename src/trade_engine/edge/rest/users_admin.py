"""Routes about a user for operators (role admin): what is his, and money in and out by hand, with why.

Whatever moves money is a deposit or a withdrawal of the ledger: double entry against the outside account, in the chain
of ``wallet.funding``, once for an operation id.  A correction is one of the two; the audit tells them apart.
"""

from typing import Any

import msgspec

from trade_engine.domain.errors import InvalidRequest, Refused, Unavailable
from trade_engine.domain.ids import canonical_uuid
from trade_engine.domain.scale import ScaleError, format_units, parse_units
from trade_engine.edge.assets import require_listed
from trade_engine.edge.bodies import decode
from trade_engine.edge.rest.audited import audited
from trade_engine.edge.rest.call import Answer, Call, whole_number
from trade_engine.edge.rest.orders import order_cursor
from trade_engine.edge.shapes import Amount, AmountText, Asset, AssetText, Id, IdText, ReasonText, Signed, SignedText
from trade_engine.edge.times import read_range
from trade_engine.edge.views import show_order, show_own_trade
from trade_engine.wallet.port import MAX_AMOUNT, Outcome, WalletUnavailable

_AWAY = "the wallet does not answer: repeat it with the same operation_id"


class FundUserBody(msgspec.Struct, forbid_unknown_fields=True):
    """Money that comes in or goes out; the same ``operation_id`` again moves nothing more."""

    asset: AssetText
    amount: AmountText
    operation_id: IdText
    reason: ReasonText


class CorrectBody(msgspec.Struct, forbid_unknown_fields=True):
    """What to change an available balance by; below zero takes away.  Once for an ``operation_id``."""

    asset: AssetText
    amount: SignedText
    operation_id: IdText
    reason: ReasonText


class FundedView(msgspec.Struct):
    """What was moved, and the balance after it."""

    user_id: Id
    asset: Asset
    amount: Signed
    operation_id: Id
    available: Amount
    reserved: Amount


class EntryView(msgspec.Struct):
    """One entry of the ledger: what it changed, and what was there after it."""

    id: int
    operation_id: Id
    type: str
    asset: Asset
    available_delta: Signed
    reserved_delta: Signed
    available_after: Signed
    reserved_after: Signed
    reference_id: Id
    description: str


_fund_decoder = msgspec.json.Decoder(FundUserBody)
_correct_decoder = msgspec.json.Decoder(CorrectBody)


async def user_balances(call: Call) -> Answer:
    """Look up the balances of a user."""
    return Answer(await call.services.balances.of(_user(call)))


async def user_entries(call: Call) -> Answer:
    """List the ledger entries of a user.

    Newest first; further pages by cursor.
    """
    limit = whole_number(call.query, "limit", 100, 1, 500)
    text = call.query.get("cursor", str(MAX_AMOUNT))
    if not (text.isascii() and text.isdigit() and int(text[:20]) <= MAX_AMOUNT):
        message = "cursor must be a next_cursor of an earlier page"
        raise InvalidRequest("INVALID_CURSOR", message, field="cursor", provided=text[:100])
    try:
        rows = await call.services.wallet.ledger(_user(call), int(text), limit + 1)
    except WalletUnavailable as error:
        raise Unavailable("WALLET_UNAVAILABLE", "the wallet does not answer") from error
    meta: dict[str, Any] = {"next_cursor": str(rows[limit - 1].entry_id) if len(rows) > limit else None}
    views = [
        EntryView(
            row.entry_id,
            row.operation_id,
            row.line.type.value,
            row.line.asset,
            format_units(row.line.available_delta),
            format_units(row.line.reserved_delta),
            format_units(row.available_after),
            format_units(row.reserved_after),
            row.reference_id,
            row.description,
        )
        for row in rows[:limit]
    ]
    return Answer(views, meta=meta)


async def user_orders(call: Call) -> Answer:
    """List the orders of a user.

    Open and ended, newest first; further pages by cursor.
    """
    given, desk = call.query, call.services.desk
    start, end = read_range(given)
    page = await desk.page(
        _user(call),
        market=desk.markets.named(given["symbol"]) if "symbol" in given else None,
        start_us=start,
        end_us=end,
        before=order_cursor(given.get("cursor")),
        limit=whole_number(given, "limit", 100, 1, 500),
    )
    views = [show_order(order, desk.markets.numbered(order.market_id)) for order in page.rows]
    return Answer(views, meta={"next_cursor": page.next_before})


async def user_trades(call: Call) -> Answer:
    """List the trades of a user.

    As he sees them, newest first; further pages by cursor.
    """
    given, markets, user_id = call.query, call.services.markets, _user(call)
    start, end = read_range(given)
    page = await call.services.queries.trades(
        user_id=user_id,
        market_id=markets.named(given["symbol"]).market_id if "symbol" in given else None,
        start_us=start,
        end_us=end,
        before=order_cursor(given.get("cursor")),
        limit=whole_number(given, "limit", 100, 1, 500),
    )
    views = [show_own_trade(trade, markets.numbered(trade.market_id), user_id) for trade in page.rows]
    return Answer(views, meta={"next_cursor": page.next_before})


async def user_deposit(call: Call) -> Answer:
    """Credit a user.

    From the world outside.  Audited.
    """
    body = decode(_fund_decoder, call.body)
    return await _fund(call, "wallet.deposit", body, _units(body.amount))


async def user_withdraw(call: Call) -> Answer:
    """Debit a user's available balance.

    What is reserved stays his orders'.  Audited.
    """
    body = decode(_fund_decoder, call.body)
    return await _fund(call, "wallet.withdraw", body, -_units(body.amount))


async def user_correct(call: Call) -> Answer:
    """Correct a user's available balance.

    By an amount, which may be below zero: a deposit or a withdrawal that the audit calls a correction.
    """
    body = decode(_correct_decoder, call.body)
    negative = body.amount.startswith("-")
    units = _units(body.amount.removeprefix("-"))
    return await _fund(call, "wallet.correct", body, -units if negative else units)


async def _fund(call: Call, action: str, body: FundUserBody | CorrectBody, units: int) -> Answer:
    user_id, asset, services = _user(call), body.asset.upper(), call.services
    operation_id = canonical_uuid(body.operation_id)
    if operation_id is None:
        message = "operation_id must be a UUID"
        raise InvalidRequest("INVALID_PARAMETER", message, field="operation_id", provided=body.operation_id[:100])
    if not services.settings.any_asset:
        require_listed(asset, services.reader.markets.values())
    subject = f"user {user_id}: {format_units(units)} {asset}, operation {operation_id}"
    async with audited(call, action, subject, body.reason):
        move = services.wallet.deposit if units > 0 else services.wallet.withdraw
        try:
            outcome = await move(user_id, asset, abs(units), operation_id)
        except WalletUnavailable as error:
            raise Unavailable("WALLET_UNAVAILABLE", _AWAY) from error
        _require(outcome, body.amount)
    return Answer(
        FundedView(
            user_id,
            asset,
            format_units(units),
            operation_id,
            format_units(outcome.available),
            format_units(outcome.reserved),
        )
    )


def _require(outcome: Outcome, amount: str) -> None:
    if outcome.code in ("INVALID_AMOUNT", "INSUFFICIENT_BALANCE"):
        raise InvalidRequest(outcome.code, outcome.message, field="amount", provided=amount[:100])
    if not outcome.ok:
        raise Refused(outcome.code, outcome.message)


def _units(amount: str) -> int:
    try:
        units = parse_units(amount)
    except ScaleError as error:
        raise InvalidRequest("INVALID_AMOUNT", f"amount {error}", field="amount", provided=amount[:100]) from error
    if not units:
        raise InvalidRequest("INVALID_AMOUNT", "amount must be above zero", field="amount", provided=amount[:100])
    return units


def _user(call: Call) -> str:
    given = call.path("user_id")
    user_id = canonical_uuid(given)
    if user_id is None:
        raise InvalidRequest("INVALID_PARAMETER", "user_id must be a UUID", field="user_id", provided=given[:100])
    return user_id
