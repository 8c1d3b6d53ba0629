"""Load for tests: users who place and cancel at random, over REST and over WebSocket."""

import asyncio
import random
import time
from typing import Any

from tests.e2e.venue import Trader, Venue
from tests.e2e.ws.client import client


async def rich(venue: Venue, symbol: str) -> Trader:
    """A user who can trade a market for long."""
    return await venue.trader(**{symbol.partition("/")[0]: "1000000", "USDT": "1000000000"})


def drawn(rng: random.Random, symbol: str) -> dict[str, str]:
    """An order near 100; one in four crosses."""
    side = rng.choice(("BUY", "SELL"))
    away = rng.randint(-20, 60)
    cents = 10_000 - away if side == "BUY" else 10_000 + away
    quantity = f"{rng.randint(1, 40) / 10}"
    return {
        "symbol": symbol, "side": side, "type": "LIMIT", "quantity": quantity,
        "price": f"{cents // 100}.{cents % 100:02}",
        "self_trade_prevention": "CANCEL_NEWEST",
    }  # fmt: skip


async def over_rest(trader: Trader, symbol: str, seconds: float, seed: int) -> None:
    """Place and cancel over REST, one after the other."""
    rng, live, until = random.Random(seed), list[str](), time.monotonic() + seconds
    while time.monotonic() < until:
        if live and rng.random() < 0.4:
            assert (await trader.cancel(live.pop(rng.randrange(len(live))))).status_code in (200, 409)
            continue
        answer = await trader.post(drawn(rng, symbol))
        assert answer.status_code == 201, answer.text
        live.append(answer.json()["data"]["order"]["id"])


async def over_ws(port: int, token: str, symbol: str, seconds: float, seed: int) -> None:
    """Place and cancel over one WebSocket, four commands at a time."""
    until = time.monotonic() + seconds
    async with client(port, token) as link:

        async def drive(rng: random.Random) -> None:
            live: list[str] = []
            while time.monotonic() < until:
                if live and rng.random() < 0.4:
                    answer = await link.ask("cancel", order_id=live.pop(rng.randrange(len(live))))
                    assert answer["success"] or answer["error"]["code"] == "ORDER_NOT_CANCELLABLE", answer
                else:
                    live.append((await link.do("place", order=drawn(rng, symbol)))["order"]["id"])

        async with asyncio.TaskGroup() as group:
            for n in range(4):
                group.create_task(drive(random.Random(seed * 10 + n)))


async def load(venue: Venue, symbols: list[str], seconds: float, seed: int = 1) -> list[Trader]:
    """Two REST users and two WebSocket users in every market; who they were."""
    port, traders, work = venue.running.websocket.port, [], list[Any]()
    for number, symbol in enumerate(symbols):
        users = [await rich(venue, symbol) for _ in range(4)]
        traders += users
        for place, user in enumerate(users):
            token = user.headers["Authorization"].removeprefix("Bearer ")
            own = seed * 1_000 + number * 10 + place
            if place < 2:
                work.append(over_rest(user, symbol, seconds, own))
            else:
                work.append(over_ws(port, token, symbol, seconds, own))
    async with asyncio.TaskGroup() as group:
        for each in work:
            group.create_task(each)
    return traders


def bearer(trader: Trader) -> str:
    """A trader's token."""
    return trader.headers["Authorization"].removeprefix("Bearer ")
