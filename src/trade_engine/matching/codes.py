"""The vocabulary of the core as plain integers, named as in the native book.

Looking up a member of an enumeration and combining flags cost a multiple of what they are compared with, and the
reference book does so many times an order.  Only it uses these; the enumerations themselves are the contract.
"""

from typing import Final

from trade_engine.domain.commands import CommandKind, OrderFlag, RuleFlag
from trade_engine.domain.enums import MarketState, OrderType, Reason, SelfTradePrevention, Side, TimeInForce
from trade_engine.domain.events import EventFlag, EventKind

BUY: Final = int(Side.BUY)
SELL: Final = int(Side.SELL)

LIMIT: Final = int(OrderType.LIMIT)
MARKET: Final = int(OrderType.MARKET)
STOP: Final = int(OrderType.STOP)
STOP_LIMIT: Final = int(OrderType.STOP_LIMIT)

IOC: Final = int(TimeInForce.IOC)
FOK: Final = int(TimeInForce.FOK)
DAY: Final = int(TimeInForce.DAY)
GTD: Final = int(TimeInForce.GTD)

CANCEL_NEWEST: Final = int(SelfTradePrevention.CANCEL_NEWEST)
CANCEL_OLDEST: Final = int(SelfTradePrevention.CANCEL_OLDEST)
CANCEL_BOTH: Final = int(SelfTradePrevention.CANCEL_BOTH)
DECREMENT: Final = int(SelfTradePrevention.DECREMENT)
ALLOWED: Final = int(SelfTradePrevention.NONE)

OPEN: Final = int(MarketState.OPEN)
HALTED: Final = int(MarketState.HALTED)
CANCEL_ONLY: Final = int(MarketState.CANCEL_ONLY)
CLOSED: Final = int(MarketState.CLOSED)

POST_ONLY: Final = int(OrderFlag.POST_ONLY)
LIMITED_NOTIONAL: Final = int(OrderFlag.LIMITED_NOTIONAL)
QUOTE_AMOUNT: Final = int(OrderFlag.QUOTE_AMOUNT)
REVERSED: Final = int(OrderFlag.REVERSED)

PLACE: Final = int(CommandKind.PLACE)
CANCEL: Final = int(CommandKind.CANCEL)
REDUCE: Final = int(CommandKind.REDUCE)
AMEND: Final = int(CommandKind.AMEND)
CANCEL_ALL: Final = int(CommandKind.CANCEL_ALL)
SET_STATE: Final = int(CommandKind.SET_STATE)
TICK: Final = int(CommandKind.TICK)
CONFIGURE: Final = int(CommandKind.CONFIGURE)
TRIGGER: Final = int(CommandKind.TRIGGER)

CASCADE_BUDGET: Final = int(RuleFlag.CASCADE_BUDGET)

ACCEPTED: Final = int(EventKind.ACCEPTED)
REJECTED: Final = int(EventKind.REJECTED)
TRADE: Final = int(EventKind.TRADE)
RESTED: Final = int(EventKind.RESTED)
CANCELLED: Final = int(EventKind.CANCELLED)
EXPIRED: Final = int(EventKind.EXPIRED)
REDUCED: Final = int(EventKind.REDUCED)
AMENDED: Final = int(EventKind.AMENDED)
PENDING: Final = int(EventKind.PENDING)
TRIGGERED: Final = int(EventKind.TRIGGERED)
REFILLED: Final = int(EventKind.REFILLED)
STATE_CHANGED: Final = int(EventKind.STATE_CHANGED)
CONFIGURED: Final = int(EventKind.CONFIGURED)
PULLED: Final = int(EventKind.PULLED)
RESTING: Final = int(EventFlag.RESTING)

#: No refusal.
FINE: Final = Reason.NONE
