"""`trade-engine bench orders --pages N`: the same flow of orders with and without people at the trading page.

Each pair is some seconds without them and some with them, on one server, in turns that change sides, so that what else
the machine does meets both.  The sessions live in a process of their own (``page_sessions``) on the same machine.
"""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

from trade_engine.bench.errors import BenchError
from trade_engine.bench.orders import OrderFlow, run_load
from trade_engine.bench.own_server import RATE_LIMIT, funded_tokens, own_config
from trade_engine.bench.page_sessions import READY
from trade_engine.bench.spent import cpu_us
from trade_engine.bootstrap.attached import attached_url
from trade_engine.bootstrap.keys import jwt_secret

#: All sessions come from one address.
FROM_ONE_ADDRESS: Final = {"TRADE_ENGINE__SERVER__ADDRESS_MESSAGES_PER_S": "0"}
_BEGIN_S: Final = 60.0
_SETTLE_S: Final = 1.0


class People:
    """Those at the page: their process, and afterwards how many messages they read."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.messages = 0


@contextlib.asynccontextmanager
async def page_sessions(port: int, tokens: Sequence[str]) -> AsyncIterator[People]:
    """People at the page, a token each, for as long as the block lasts.

    Raises:
        BenchError: they did not all come in, or one was sent away meanwhile.
    """
    pipe = asyncio.subprocess.PIPE
    words = (sys.executable, "-m", "trade_engine.bench.page_sessions", str(port))
    process = await asyncio.create_subprocess_exec(*words, stdin=pipe, stdout=pipe)
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("the process was started without pipes")
    try:
        process.stdin.write(json.dumps(list(tokens)).encode() + b"\n")
        said = await asyncio.wait_for(process.stdout.readline(), _BEGIN_S)
        if said.decode().strip() != READY:
            raise BenchError("the sessions' process ended; its message is above")
        people = People(process.pid)
        yield people
        if process.returncode is not None:
            raise BenchError("a session was sent away; the message of its process is above")
        process.stdin.close()
        people.messages = int((await asyncio.wait_for(process.stdout.readline(), _BEGIN_S)) or 0)
    finally:
        process.stdin.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), 10)
        if process.returncode is None:
            process.kill()
            await process.wait()


async def measure_pages(
    data_dir: Path,
    server: tuple[int, int],
    seconds: float,
    connections: int,
    users: int,
    seed: int,
    pairs: int,
    pages: int,
) -> dict[str, Any]:
    """Orders a second on the server (its port and process id) without and with so many people at the page, in pairs."""
    config, (port, pid) = own_config(), server
    async with attached_url(config, data_dir) as url:
        tokens = await funded_tokens(url, jwt_secret(config, data_dir), users)
    flow = OrderFlow(tokens, seed)
    rates: dict[bool, list[float]] = {False: [], True: []}
    spent_us: dict[bool, list[float]] = {False: [], True: []}
    errors = {False: 0, True: 0}
    messages, shares = list[float](), list[float]()
    await run_load("127.0.0.1", port, flow, connections=connections, seconds=min(3.0, seconds))
    for pair in range(pairs):
        for with_pages in (False, True) if pair % 2 == 0 else (True, False):
            people = People(0)
            async with contextlib.AsyncExitStack() as stack:
                if with_pages:
                    people = await stack.enter_async_context(page_sessions(port, tokens[:pages]))
                await asyncio.sleep(_SETTLE_S)
                before = cpu_us(pid), cpu_us(people.pid)
                tally, took = await run_load("127.0.0.1", port, flow, connections=connections, seconds=seconds)
                spent_us[with_pages].append((cpu_us(pid) - before[0]) / max(tally.requests, 1))
                share = (cpu_us(people.pid) - before[1]) / took / 1e6
            if with_pages:
                shares.append(share)
                messages.append(people.messages / (took + _SETTLE_S))
            rates[with_pages].append(round(tally.orders / took, 1))
            errors[with_pages] += tally.errors
    ratios = [beside / alone for alone, beside in zip(rates[False], rates[True], strict=True)]
    return {
        "alone_per_s": median(rates[False]),
        "beside_pages_per_s": median(rates[True]),
        "ratio": round(median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
        "server_cpu_us_alone": round(median(spent_us[False]), 1),
        "server_cpu_us_beside_pages": round(median(spent_us[True]), 1),
        "messages_per_s": round(median(messages), 1),
        # What the people's own process takes of one core of this machine, which is not the engine's.
        "sessions_core_share": round(median(shares), 3),
        "pages": pages,
        "errors_alone": errors[False],
        "errors_beside_pages": errors[True],
        "rate_limit": RATE_LIMIT,
    }
