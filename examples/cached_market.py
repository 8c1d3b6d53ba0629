"""A reference reader of what the engine keeps of a market in Redis: prints the best prices as they change.

    python examples/cached_market.py redis://127.0.0.1:6379/0 BTC/USDT

It asks the engine nothing and needs redis-py alone.  What to copy:

- the three keys are read by one MGET, so that book, ticker and trades are of one moment;
- a key that is not there means that no engine has written for a minute: show nothing rather than what was;
- what was read is older than what is known if stream and epoch are the same and the sequence is smaller;
- the channel only says that there is something new: messages may be missed, so it also looks once a second.
"""

import argparse
import json
import time
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

SCHEMA_VERSION = 1


def read(redis: Redis, prefix: str, symbol: str) -> dict[str, Any] | None:
    """Book, ticker and trades of a market by name; None: there is nothing, or not in this format."""
    names = ("book", "ticker", "trades")
    spelt = symbol.replace("/", "-")
    values = redis.mget([f"{prefix}{name}:{spelt}" for name in names])
    found = {name: json.loads(value) for name, value in zip(names, values, strict=True) if value is not None}
    if "book" not in found or any(each["schema_version"] != SCHEMA_VERSION for each in found.values()):
        return None
    return found


def follow(redis: Redis, prefix: str, symbol: str, updates: int) -> None:
    """Print a line each time that the market has changed, so many times."""
    changes = redis.pubsub(ignore_subscribe_messages=True)
    changes.subscribe(f"{prefix}changed")
    wanted = symbol.replace("/", "-").encode() + b" "
    known: tuple[Any, ...] | None = None
    while updates:
        market = read(redis, prefix, symbol)
        if market is None:
            print(f"{symbol}: nothing is known", flush=True)
            time.sleep(1)
            continue
        head = market["book"]
        place = (head["stream_id"], head["epoch"], head["sequence"])
        if known is None or known[:2] != place[:2] or known[2] < place[2]:
            known = place
            book = market["book"]["book"]
            bid, ask = (book[side][0]["price"] if book[side] else "none" for side in ("bids", "asks"))
            print(f"{symbol} {head['sequence']} bid {bid} ask {ask} as of {head['written_at']}", flush=True)
            updates -= 1
        until = time.monotonic() + 1
        while time.monotonic() < until:
            message = changes.get_message(timeout=max(0.01, until - time.monotonic()))
            if message is not None and message["data"].startswith(wanted):
                break


def main() -> None:
    """Follow a market, and go on when Redis went away."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("symbol")
    parser.add_argument("--prefix", default="trade-engine:")
    parser.add_argument("--updates", type=int, default=-1, help="stop after so many lines")
    options = parser.parse_args()
    while True:
        try:
            follow(Redis.from_url(options.url), options.prefix, options.symbol, options.updates)
            return
        except RedisError as error:
            print(f"waiting for Redis: {error!r}", flush=True)
            time.sleep(1)


if __name__ == "__main__":
    main()
