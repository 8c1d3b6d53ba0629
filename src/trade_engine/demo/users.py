"""Who is there in a demo: names that stand for users, their funds, and whether a database is a demo's at all."""

import ipaddress
import uuid
from collections.abc import Iterable
from typing import Final

from trade_engine.domain.ids import canonical_uuid
from trade_engine.domain.market import Market
from trade_engine.domain.scale import UNIT
from trade_engine.storage.types import Pool
from trade_engine.wallet.ledger import FEE_ACCOUNTS, OUTSIDE_ACCOUNT
from trade_engine.wallet.port import Wallet

_NAMESPACE: Final = uuid.UUID("6f2c1d2e-6a7b-5c3d-9e4f-0a1b2c3d4e5f")

#: Who tries the engine out.
PEOPLE: Final = ("alice", "bob")
_THEIR_FUNDS: Final = {"USDT": 1_000_000, "BTC": 100, "ETH": 1_000}
#: Who makes the markets move.
MAKER_NAME: Final = "demo market maker"
TAKER_NAMES: Final = ("demo taker 1", "demo taker 2", "demo taker 3")
#: What each of those has of every asset: more than their fees ever cost, and than they ever hold apart.
_PLENTY: Final = 1_000_000_000


class DemoRefused(Exception):
    """There must be no demo here; the message says why."""


def user_id_of(user: str) -> str:
    """A user's UUID: as given, or the one that a demo name such as ``alice`` stands for."""
    return canonical_uuid(user) or str(uuid.uuid5(_NAMESPACE, user))


MAKER: Final = user_id_of(MAKER_NAME)
TAKERS: Final = tuple(map(user_id_of, TAKER_NAMES))


def require_loopback(host: str) -> None:
    """Refuse to show a demo to the network: its users' tokens are printed, its money is nobody's.

    Raises:
        DemoRefused: others than this machine could reach it.
    """
    try:
        loopback = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise DemoRefused(f"--demo is for this machine alone: server.host must be 127.0.0.1, not {host}")


async def require_own_database(pool: Pool) -> None:
    """Refuse a database with users that no demo made, before anything of the demo's is written.

    Raises:
        DemoRefused: there is one.
    """
    ours = [*map(user_id_of, PEOPLE), MAKER, *TAKERS, OUTSIDE_ACCOUNT, *FEE_ACCOUNTS]
    # A wallet of its own, with its balances elsewhere, leaves these tables empty, and the traders here.
    found = await pool.fetch(
        "SELECT user_id::TEXT FROM (SELECT user_id FROM wallet.balances UNION SELECT user_id FROM traders) users"
        " WHERE user_id <> ALL ($1::UUID[]) ORDER BY user_id LIMIT 2",
        ours,
    )
    if found:
        others = " and others" if len(found) > 1 else ""
        raise DemoRefused(
            f"--demo is not for a database with users that it did not make ({found[0]['user_id']}{others}):"
            " start without --demo, or with another --data-dir"
        )


async def fund(wallet: Wallet, markets: Iterable[Market], *, market_maker: bool) -> None:
    """Give everybody his funds, once per database.

    Args:
        wallet: the engine's.
        markets: whose assets are dealt in.
        market_maker: with those who make the markets move.
    """
    funds = {user_id_of(name): _THEIR_FUNDS for name in PEOPLE}
    if market_maker:
        assets = sorted({asset for market in markets for asset in (market.base, market.quote)})
        funds |= dict.fromkeys((MAKER, *TAKERS), dict.fromkeys(assets, _PLENTY))
    for user, amounts in funds.items():
        for asset, amount in amounts.items():
            operation = str(uuid.uuid5(uuid.UUID(user), f"demo {asset}"))
            await wallet.deposit(user, asset, amount * UNIT, operation)
