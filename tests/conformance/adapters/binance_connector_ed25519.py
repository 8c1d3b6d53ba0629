"""binance-connector, which signs with an Ed25519 key."""

from binance.spot import Spot

from adapters import binance_connector
from adapters.private import PrivateKeyAccount


class Account(PrivateKeyAccount, binance_connector.Account):
    """One user."""

    def open(self) -> None:
        self.api = Spot(api_key=self.login[0], private_key=self.login[1], base_url=self.url)
