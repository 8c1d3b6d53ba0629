"""The types that users see.  mypy reads this file: a wrong type, or an ignore that is not needed, fails `make types`.

Run, it shows that the methods also say to people what they take.
"""

import inspect
from collections.abc import AsyncIterator, Coroutine, Iterator
from datetime import datetime
from decimal import Decimal
from typing import Any, assert_type

import pytest

from trade_engine.client import (
    AsyncClient,
    Balance,
    Candle,
    Client,
    MarketTrade,
    NewOrder,
    Order,
    OrderBook,
    Page,
    Placed,
    PlaceResult,
    Stream,
    Trade,
)


def synchronous(client: Client) -> None:
    assert_type(client.place("BTC/USDT", "BUY", Decimal("0.1"), "50000", post_only=True), Placed)
    assert_type(client.place_many([NewOrder("BTC/USDT", "SELL", 1, 2)]), list[PlaceResult])
    assert_type(client.cancel("id"), Order)
    assert_type(client.cancel_all(), int)
    assert_type(client.amend("id", quantity=1), Placed)
    assert_type(client.orders("BTC/USDT", status="open"), Iterator[Order])
    assert_type(client.orders_page(), Page[Order])
    assert_type(client.trades("BTC/USDT"), Iterator[MarketTrade])
    assert_type(client.my_trades(), Iterator[Trade])
    assert_type(client.order_book("BTC/USDT"), OrderBook)
    assert_type(client.candles("BTC/USDT", "1h"), Page[Candle])
    assert_type(client.balances(), list[Balance])
    assert_type(client.time(), datetime)
    assert_type(client.order("id").average_price, Decimal | None)

    client.place("BTC/USDT", "BUY", 0.1, 50000)  # type: ignore[arg-type]
    client.place("BTC/USDT", "BUY", 1, price=0.1)  # type: ignore[arg-type]
    client.place("BTC/USDT", "HOLD", 1, 1)  # type: ignore[arg-type]
    client.place("BTC/USDT", "BUY", 1, 1, post_onyl=True)  # type: ignore[call-arg]
    client.candles("BTC/USDT", "2m")  # type: ignore[arg-type]
    client.amend("id", 1)  # type: ignore[call-arg]


async def asynchronous(client: AsyncClient, stream: Stream) -> None:
    placing = assert_type(client.place("BTC/USDT", "BUY", 1, 1), Coroutine[Any, Any, Placed])
    assert_type(await placing, Placed)
    assert_type(await client.balances(), list[Balance])
    assert_type(client.orders(), AsyncIterator[Order])
    assert_type(await stream.place("BTC/USDT", "BUY", 1, 1), Placed)
    await client.place("BTC/USDT", "BUY", 0.1)  # type: ignore[arg-type]
    await stream.place("BTC/USDT", "BUY", 0.1)  # type: ignore[arg-type]
    await stream.subscribe("prices")  # type: ignore[arg-type]


@pytest.mark.parametrize("owner", [Client, AsyncClient, Stream])
def test_methods_say_what_they_take(owner: type) -> None:
    signature = inspect.signature(owner.place)  # type: ignore[attr-defined]
    assert list(signature.parameters)[:5] == ["self", "symbol", "side", "quantity", "price"]
    assert "client_order_id" in owner.place.__doc__  # type: ignore[attr-defined]
    public = [name for name in vars(owner) if not name.startswith("_")]
    assert [name for name in public if not getattr(owner, name).__doc__] == []


def test_both_clients_have_the_same_methods() -> None:
    def methods(owner: type) -> set[str]:
        return {name for name in dir(owner) if not name.startswith("_")}

    assert methods(AsyncClient) - methods(Client) == {"stream"}
    assert methods(Client) <= methods(AsyncClient)
