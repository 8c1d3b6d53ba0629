"""A client of the trade engine's API: ``Client`` waits, ``AsyncClient`` is for asyncio and has streams.

It knows the engine only by its API and imports nothing else of it.
"""

from .calls import NewOrder
from .errors import (
    ApiError,
    ClientError,
    OutcomeUnknown,
    Problem,
    ProtocolError,
    RateLimited,
    TransportError,
    Unavailable,
)
from .http import DEFAULT_URL, AsyncClient, Client
from .local_book import LocalBook, OutOfStep
from .messages import (
    BalancesMessage,
    BookMessage,
    CandleMessage,
    Channel,
    ChannelMessage,
    DepthMessage,
    FillsMessage,
    OrdersMessage,
    PriceLevel,
    TickerMessage,
    TradesMessage,
)
from .models import (
    Balance,
    Candle,
    Interval,
    Level,
    Market,
    MarketTrade,
    Order,
    OrderBook,
    OrderType,
    Page,
    Placed,
    PlaceResult,
    SelfTradePrevention,
    Side,
    Status,
    Ticker,
    TimeInForce,
    Trade,
)
from .repeating import Retry
from .stream import Stream
from .values import Amount

__all__ = [
    "DEFAULT_URL",
    "Amount",
    "ApiError",
    "AsyncClient",
    "Balance",
    "BalancesMessage",
    "BookMessage",
    "Candle",
    "CandleMessage",
    "Channel",
    "ChannelMessage",
    "Client",
    "ClientError",
    "DepthMessage",
    "FillsMessage",
    "Interval",
    "Level",
    "LocalBook",
    "Market",
    "MarketTrade",
    "NewOrder",
    "Order",
    "OrderBook",
    "OrderType",
    "OrdersMessage",
    "OutOfStep",
    "OutcomeUnknown",
    "Page",
    "PlaceResult",
    "Placed",
    "PriceLevel",
    "Problem",
    "ProtocolError",
    "RateLimited",
    "Retry",
    "SelfTradePrevention",
    "Side",
    "Status",
    "Stream",
    "Ticker",
    "TickerMessage",
    "TimeInForce",
    "Trade",
    "TradesMessage",
    "TransportError",
    "Unavailable",
]
