"""A polite stranger: looks at health and market data every so often and prints when it asked and how long it waited.

Lines are "second millisecond", by the machine's monotonic clock, which all its processes share.
"""

import asyncio
import sys
import time

from tests.survive.wire import Line, Unanswered

_PATHS = ("/health/live", "/api/v1/orderbook/BTC-USDT?depth=20", "/api/v1/trades?symbol=BTC/USDT&limit=20")
_PAUSE_S = 0.1


async def look(port: int) -> None:
    """Look for as long as the drill lives."""
    line = Line(lambda: port, "127.0.2.1", patience_s=60)
    number = 0
    while True:
        number += 1
        asked = time.monotonic()
        try:
            await line.ask("GET", _PATHS[number % len(_PATHS)])
        except Unanswered:
            await asyncio.sleep(_PAUSE_S)
            continue
        print(f"{asked:.3f} {(time.monotonic() - asked) * 1e3:.1f}", flush=True)
        await asyncio.sleep(_PAUSE_S)


if __name__ == "__main__":
    asyncio.run(look(int(sys.argv[1])))
