"""One vocabulary for the API, the database, events and metrics.

Each enumeration has its wire number (``int``) and its name (upper case, as shown to the world).
"""

from enum import IntEnum
from typing import Self


class Named(IntEnum):
    """An enumeration that is a number on the wire and an upper-case word everywhere else."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Look a member up by its name, in any case; KeyError if there is none."""
        return cls[text.upper()]


class Side(Named):
    """Which side of the book an order is on."""

    BUY = 0
    SELL = 1


class OrderType(Named):
    """How an order enters the book."""

    LIMIT = 0
    MARKET = 1
    STOP = 2
    STOP_LIMIT = 3


class TimeInForce(Named):
    """How long an order may rest."""

    GTC = 0
    IOC = 1
    FOK = 2
    DAY = 3
    GTD = 4


class SelfTradePrevention(Named):
    """What happens when an order meets another of the same user (SPEC 3.5)."""

    CANCEL_NEWEST = 0
    CANCEL_OLDEST = 1
    CANCEL_BOTH = 2
    DECREMENT = 3
    NONE = 4


class OrderStatus(Named):
    """Where an order is in its life."""

    PENDING = 0
    OPEN = 1
    PARTIALLY_FILLED = 2
    FILLED = 3
    CANCELLED = 4
    REJECTED = 5
    EXPIRED = 6

    @property
    def is_open(self) -> bool:
        """Whether the order can still trade, trigger or be cancelled."""
        return self <= OrderStatus.PARTIALLY_FILLED


class SettlementStatus(Named):
    """Whether a trade's money has moved."""

    PENDING = 0
    SETTLED = 1
    FAILED = 2


class MarketState(Named):
    """What a market accepts: everything; nothing; cancels only; nothing.

    An administrator (reason ADMIN_REQUEST) may take orders out in any state, and expiry goes on in every state.
    """

    OPEN = 0
    HALTED = 1
    CANCEL_ONLY = 2
    CLOSED = 3


class FeeAsset(Named):
    """In which asset the buyer pays the fee; the seller always pays in quote, which is what he receives."""

    QUOTE = 0
    RECEIVED = 1


class Reason(Named):
    """Why a command was refused or an order ended.  0-99 refusals, 100 and up ends of accepted orders."""

    NONE = 0
    DUPLICATE_ORDER_ID = 1
    UNKNOWN_ORDER = 2
    INVALID_QUANTITY = 3
    INVALID_PRICE = 4
    INVALID_STOP_PRICE = 5
    NOTIONAL_OVERFLOW = 6
    MARKET_HALTED = 7
    MARKET_CANCEL_ONLY = 8
    MARKET_CLOSED = 9
    POST_ONLY_WOULD_TAKE = 10
    PRICE_BAND = 11
    MIN_NOTIONAL = 12
    MAX_OPEN_ORDERS = 13
    INVALID_DISPLAY_QUANTITY = 15
    INVALID_EXPIRY = 16
    INVALID_FLAGS = 17
    INVALID_COMMAND = 18
    OUT_OF_MEMORY = 19
    NOT_AMENDABLE = 20
    NO_CHANGE = 21
    INVALID_LINK = 22
    TRIGGERS_WAITING = 23

    USER_REQUEST = 100
    IOC_REMAINDER = 101
    MARKET_REMAINDER = 102
    NO_LIQUIDITY = 103
    SELF_TRADE = 104
    MAX_NOTIONAL_REACHED = 105
    MAX_SLIPPAGE_REACHED = 106
    MAX_FILLS_REACHED = 107
    LINKED_ORDER = 108
    DAY_END = 109
    GOOD_TILL_DATE = 110
    MASS_CANCEL = 111
    FOK_REMAINDER = 112
    ADMIN_REQUEST = 113
    TRIGGER_REFUSED = 114
    MAX_LIFE = 115
