"""binance-connector: the official client, blocking; parameters are the API's own."""

from typing import Any

import binance.api
from binance.error import ClientError
from binance.spot import Spot

from adapters.raw import RawAccount


class Account(RawAccount):
    """One user."""

    refusals = (ClientError,)

    def open(self) -> None:
        self.api = Spot(api_key=self.login[0], api_secret=self.login[1], base_url=self.url)

    def call(self, name: str, **given: Any) -> Any:
        return getattr(self.api, name)(**given)

    def late(self) -> Any:
        # The connector stamps by itself.
        real = binance.api.get_timestamp
        binance.api.get_timestamp = lambda: real() - 100_000
        try:
            return self.api.account()
        finally:
            binance.api.get_timestamp = real
