"""python-binance, its client for asyncio."""

import asyncio
from typing import Any

from binance.async_client import AsyncClient
from binance.exceptions import BinanceAPIException

from adapters.python_binance import NAMES, PATHS
from adapters.raw import RawAccount

_loop = asyncio.new_event_loop()
asyncio.set_event_loop(_loop)


class Account(RawAccount):
    """One user."""

    refusals = (BinanceAPIException,)

    def open(self) -> None:
        self.api = _loop.run_until_complete(self._made())

    async def _made(self) -> Any:
        api = AsyncClient(*self.login)
        for name, path in PATHS.items():
            setattr(api, name, self.url + path)
        return api

    def call(self, name: str, **given: Any) -> Any:
        return _loop.run_until_complete(getattr(self.api, NAMES[name])(**given))

    def late(self) -> Any:
        self.api.timestamp_offset = -100_000
        return self.call("account")
