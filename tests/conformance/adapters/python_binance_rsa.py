"""python-binance, which signs with an RSA key."""

from binance.client import Client

from adapters import python_binance
from adapters.private import PrivateKeyAccount


class Account(PrivateKeyAccount, python_binance.Account):
    """One user."""

    def open(self) -> None:
        self.api = Client(self.login[0], private_key=self.login[1], ping=False)
        for name, path in python_binance.PATHS.items():
            setattr(self.api, name, self.url + path)
