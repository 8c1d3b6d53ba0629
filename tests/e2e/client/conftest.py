"""Clients of the engine under test."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any, ParamSpec, TypeVar

import pytest

from tests.e2e.venue import Trader, Venue
from trade_engine.client import AsyncClient, Client

P = ParamSpec("P")
T = TypeVar("T")


def address(venue: Venue) -> str:
    """Where the venue listens."""
    return f"http://127.0.0.1:{venue.running.api.port}"


def token_of(trader: Trader) -> str:
    """The token of a trader."""
    return trader.headers["Authorization"].removeprefix("Bearer ")


class Both:
    """Either client behind one face, so that each scenario runs with both: methods are awaited, lists collected."""

    def __init__(self, client: Client | AsyncClient) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)

        async def call(*args: Any, **kwargs: Any) -> Any:
            if isinstance(self._client, Client):

                def work() -> Any:
                    result = method(*args, **kwargs)
                    return list(result) if hasattr(result, "__next__") else result

                return await asyncio.to_thread(work)
            result = method(*args, **kwargs)
            return [row async for row in result] if hasattr(result, "__anext__") else await result

        return call


@contextlib.asynccontextmanager
async def opened(kind: str, url: str, **options: Any) -> AsyncIterator[Both]:
    """A client of a kind."""
    if kind == "sync":
        with Client(url, **options) as client:
            yield Both(client)
    else:
        async with AsyncClient(url, **options) as asynchronous:
            yield Both(asynchronous)


@pytest.fixture(params=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> str:
    """Which of the two clients."""
    return str(request.param)
