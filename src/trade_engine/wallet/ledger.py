"""The rules of the ledger: which lines a movement writes, what a trade needs, what a refusal says (SPEC 5.6).

Pure: the in-memory wallet runs on these rules; the PostgreSQL functions hold the same rules in SQL, and a property
test compares the two.  Every movement sums to zero per asset.  Amounts are units of 1e-8.
"""

from typing import Final

from trade_engine.domain.scale import format_units
from trade_engine.wallet.port import MAX_AMOUNT, EntryType, Line, Outcome, Release, Reserve, SettleTrade

#: The account of the world outside: deposits come from it; the only one that may be below zero.
OUTSIDE_ACCOUNT: Final = "00000000-0000-7000-8000-000000000001"
#: The exchange's fee accounts; several, so that trades settled at the same time need not wait for one row.
FEE_ACCOUNTS: Final = tuple(f"00000000-0000-7000-8000-0000000000f{stripe:x}" for stripe in range(16))


RESERVE_LINE: Final = 11
RELEASE_LINE: Final = 12
DEPOSIT_LINE: Final = 13
WITHDRAWAL_LINE: Final = 15

_MESSAGES: Final = {
    "INSUFFICIENT_BALANCE": "the balance does not suffice",
    "INVALID_AMOUNT": "an amount must be above zero and at most what there is to move",
    "USER_NOT_FOUND": "the user has no wallet",
    "RESERVATION_NOT_FOUND": "nothing is reserved for this order by this user in this asset",
    "IDEMPOTENCY_CONFLICT": "this operation was carried out with other values, or the order takes no more reserves",
    "STALE_EPOCH": "another writer of the engine has taken over",
    "EPOCH_TOO_FAR": "the epoch is too far above the wallet's fence: see `trade-engine wallet fence`",
}


def refusal(code: str, available: int = 0, reserved: int = 0) -> Outcome:
    """The outcome of an item that was refused and left no trace; a reserve's shortage says what there is."""
    return Outcome(code, available, reserved, message=_MESSAGES[code])


def reserve_line(item: Reserve) -> Line:
    """What a reserve moves."""
    return Line(RESERVE_LINE, EntryType.RESERVE, item.user_id, item.asset, -item.amount, item.amount)


def release_line(item: Release, amount: int) -> Line:
    """What a release of ``amount`` moves."""
    return Line(RELEASE_LINE, EntryType.RELEASE, item.user_id, item.asset, amount, -amount)


def funding_lines(kind: EntryType, user_id: str, asset: str, amount: int) -> tuple[Line, Line]:
    """What a deposit or a withdrawal moves: the user's line, then the outside account's."""
    first = DEPOSIT_LINE if kind is EntryType.DEPOSIT else WITHDRAWAL_LINE
    delta = amount if kind is EntryType.DEPOSIT else -amount
    return (
        Line(first, kind, user_id, asset, delta, 0),
        Line(first + 1, kind, OUTSIDE_ACCOUNT, asset, -delta, 0),
    )


def trade_is_valid(trade: SettleTrade) -> bool:
    """Whether a trade's amounts can be settled at all: positive, fees in its own assets and within what is received."""
    assets = (trade.base_asset, trade.quote_asset)
    return (
        trade.base_asset != trade.quote_asset
        and 0 < trade.quantity <= MAX_AMOUNT
        and 0 < trade.notional <= MAX_AMOUNT
        and 0 <= trade.buyer_fee <= MAX_AMOUNT
        and 0 <= trade.seller_fee <= MAX_AMOUNT
        and trade.buyer_fee_asset in assets
        and trade.seller_fee_asset in assets
        and (trade.buyer_fee_asset != trade.base_asset or trade.buyer_fee <= trade.quantity)
        and (trade.seller_fee_asset != trade.quote_asset or trade.seller_fee <= trade.notional)
    )


def trade_lines(trade: SettleTrade, fee_account: str) -> list[Line]:
    """What a trade moves: both sides' payments out of reserved, their receipts, and their fees to the exchange.

    A fee in the asset that its side pays comes out of reserved, one in the asset that it receives out of available.
    """
    base, quote, buyer, seller = trade.base_asset, trade.quote_asset, trade.buyer_user_id, trade.seller_user_id
    buyer_pays_base = trade.buyer_fee_asset == base
    seller_pays_quote = trade.seller_fee_asset == quote
    one_asset = trade.buyer_fee_asset == trade.seller_fee_asset
    lines = (
        Line(1, EntryType.TRADE_BUY, buyer, quote, 0, -trade.notional),
        Line(2, EntryType.TRADE_BUY, buyer, base, trade.quantity, 0),
        Line(3, EntryType.TRADE_SELL, seller, base, 0, -trade.quantity),
        Line(4, EntryType.TRADE_SELL, seller, quote, trade.notional, 0),
        _fee_line(5, buyer, trade.buyer_fee_asset, trade.buyer_fee, from_available=buyer_pays_base),
        _fee_line(6, seller, trade.seller_fee_asset, trade.seller_fee, from_available=seller_pays_quote),
        _fee_line(
            7, fee_account, trade.buyer_fee_asset, -trade.buyer_fee - (trade.seller_fee if one_asset else 0),
            from_available=True,
        ),
        _fee_line(8, fee_account, trade.seller_fee_asset, 0 if one_asset else -trade.seller_fee, from_available=True),
    )  # fmt: skip
    return [line for line in lines if line.available_delta or line.reserved_delta]


def describe_trade(trade: SettleTrade) -> str:
    """What a trade's entries say: ``BTC/USDT at 50000``."""
    return f"{trade.base_asset}/{trade.quote_asset} at {format_units(trade.price)}"


def _fee_line(number: int, user_id: str, asset: str, fee: int, *, from_available: bool) -> Line:
    available, reserved = (-fee, 0) if from_available else (0, -fee)
    return Line(number, EntryType.FEE, user_id, asset, available, reserved)
