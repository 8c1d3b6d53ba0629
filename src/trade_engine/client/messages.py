"""What a stream tells, as types: one Struct a channel, told apart by ``type``."""

from decimal import Decimal
from typing import Final, Literal, NamedTuple

import msgspec

from .errors import Problem
from .models import Balance, Candle, Interval, MarketTrade, Order, Ticker, Trade

Channel = Literal["trades", "ticker", "tickers", "candles", "book", "depth", "orders", "fills", "balances"]


class PriceLevel(NamedTuple):
    """A price and what is offered at it; a quantity of 0 takes the level away."""

    price: Decimal
    quantity: Decimal


class Message(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """Any message of a channel."""

    sequence: int
    #: The state as a whole: at the start of a subscription, and again after a reconnection.
    snapshot: bool = False


class TradesMessage(Message, frozen=True, kw_only=True, tag="trades"):
    """Trades of a market, oldest first."""

    symbol: str
    data: list[MarketTrade]
    #: How many were left out before these, because they were not read in time.
    dropped: int = 0


class TickerMessage(Message, frozen=True, kw_only=True, tag="ticker"):
    """A market's ticker."""

    symbol: str
    data: Ticker


class TickersMessage(Message, frozen=True, kw_only=True, tag="tickers"):
    """The tickers of the markets that changed; in a snapshot, of all."""

    data: list[Ticker]


class CandleMessage(Message, frozen=True, kw_only=True, tag="candles"):
    """The running candle of a market."""

    symbol: str
    interval: Interval
    data: Candle | None


class Top(msgspec.Struct, frozen=True):
    """The best prices."""

    bid: PriceLevel | None = None
    ask: PriceLevel | None = None


class BookMessage(Message, frozen=True, kw_only=True, tag="book"):
    """The top of a market's book."""

    symbol: str
    data: Top


class DepthLevels(msgspec.Struct, frozen=True):
    """Levels of both sides, best first in a snapshot."""

    bids: list[PriceLevel]
    asks: list[PriceLevel]


class DepthMessage(Message, frozen=True, kw_only=True, tag="depth"):
    """A market's book, or what changed in it."""

    symbol: str
    data: DepthLevels
    #: With so many levels a side each message is a whole book; None or 0: all levels, and then what changed.
    levels: int | None = None
    first_sequence: int | None = None
    checksum: int | None = None


class PrivateMessage(Message, frozen=True, kw_only=True):
    """A message of the caller's own channels; a new ``stream`` means that some may have been missed."""

    stream: str


class OrdersMessage(PrivateMessage, frozen=True, kw_only=True, tag="orders"):
    """An own order that changed; in a snapshot, all that are open."""

    data: Order | list[Order]

    @property
    def orders(self) -> list[Order]:
        """The orders, one or many."""
        return self.data if isinstance(self.data, list) else [self.data]


class FillsMessage(PrivateMessage, frozen=True, kw_only=True, tag="fills"):
    """An own trade; in a snapshot, none."""

    data: Trade | list[Trade]

    @property
    def fills(self) -> list[Trade]:
        """The trades, one or none."""
        return self.data if isinstance(self.data, list) else [self.data]


class BalancesMessage(PrivateMessage, frozen=True, kw_only=True, tag="balances"):
    """Own balances that changed; in a snapshot, all."""

    data: list[Balance]


class CommandAnswer(msgspec.Struct, frozen=True, tag_field="type", tag="response"):
    """The answer to one command."""

    id: int | None
    op: str | None
    success: bool
    data: msgspec.Raw = msgspec.Raw(b"null")
    error: Problem | None = None


ChannelMessage = (
    TradesMessage
    | TickerMessage
    | TickersMessage
    | CandleMessage
    | BookMessage
    | DepthMessage
    | OrdersMessage
    | FillsMessage
    | BalancesMessage
)

decoder: Final[msgspec.json.Decoder[CommandAnswer | ChannelMessage]] = msgspec.json.Decoder(
    CommandAnswer | ChannelMessage
)
