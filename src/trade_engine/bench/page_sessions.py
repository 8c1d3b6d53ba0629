"""People at the trading page, without their browsers: connections that ask for what the page asks for, and read it.

A process of its own, `python -m trade_engine.bench.page_sessions PORT`, given the tokens as a JSON list on one line of
standard input.  It says so when all of them are there and, when its input ends, how many messages came.  What a session
sends is recorded from the page itself, and a test with a browser holds the two together.  Loopback only.
"""

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import uvloop
from websockets.asyncio.client import connect

from trade_engine.bench.http_load import build_request
from trade_engine.bench.http_load import connect as connect_http

#: What the page subscribes to of the market that it shows, in its order.
MARKET_CHANNELS: Final[tuple[dict[str, Any], ...]] = (
    {"channel": "depth", "levels": 50, "pause_ms": 100},
    {"channel": "trades", "pause_ms": 100},
    {"channel": "ticker"},
    {"channel": "candles", "interval": "1m"},
)
#: And of its user, after he has logged in.
PRIVATE_CHANNELS: Final = ("orders", "fills", "balances")
#: What it asks for again and again.
POLLED: Final = ("/api/v1/markets", "/api/v1/tickers")
POLLED_EVERY_S: Final = 3.0
#: Of ten sessions so many look at the first market.
_AT_FIRST: Final = 7
_SYMBOLS: Final = ("BTC/USDT", "ETH/USDT")
READY: Final = "ready"


async def session(port: int, symbol: str, token: str, ready: asyncio.Event, read: Counter[str]) -> None:
    """One page, until cancelled; what it has read is counted."""
    async with connect(f"ws://127.0.0.1:{port}/ws", compression=None, max_size=None) as link:
        commands = [{"op": "subscribe", "symbol": symbol} | terms for terms in MARKET_CHANNELS]
        commands.append({"op": "auth", "token": token})
        for number, command in enumerate(commands):
            await link.send(json.dumps(command | {"id": number}))
        async for message in link:
            if '"op":"auth"' in str(message[:60]):
                break
        for channel in PRIVATE_CHANNELS:
            await link.send(json.dumps({"op": "subscribe", "channel": channel}))
        ready.set()
        polling = asyncio.create_task(poll(port))
        try:
            async for _ in link:
                read["messages"] += 1
        finally:
            polling.cancel()


async def poll(port: int) -> None:
    """What a page asks for every few seconds, until cancelled."""
    link = await connect_http("127.0.0.1", port)
    while True:
        for path in POLLED:
            await link.request(build_request("GET", path, "", b""))
        await asyncio.sleep(POLLED_EVERY_S)


async def serve(port: int, tokens: Sequence[str]) -> None:
    """All sessions, until standard input ends."""
    begun, read = [asyncio.Event() for _ in tokens], Counter[str]()
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(session(port, _SYMBOLS[number % 10 >= _AT_FIRST], token, begun[number], read))
            for number, token in enumerate(tokens)
        ]
        for event in begun:
            await event.wait()
        sys.stdout.write(f"{READY}\n")
        sys.stdout.flush()
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        for task in tasks:
            task.cancel()
    sys.stdout.write(f"{read['messages']}\n")


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), json.loads(sys.stdin.readline())))
