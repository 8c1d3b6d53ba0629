"""ccxt, its client for asyncio."""

import asyncio
from typing import Any

import ccxt.async_support

from adapters import ccxt_rest

_loop = asyncio.new_event_loop()
asyncio.set_event_loop(_loop)


class Account(ccxt_rest.Account):
    """One user."""

    def made(self) -> Any:
        return ccxt.async_support.binance(ccxt_rest.settings(self.url, self.login))

    def ask(self, name: str, *given: Any) -> Any:
        return _loop.run_until_complete(getattr(self.api, name)(*given))
