"""`trade-engine bench relay`: events over RabbitMQ, against a RabbitMQ that is given and servers of its own.

First a backlog is made while RabbitMQ cannot be reached, then it is caught up with: messages a second, each confirmed
by every queue it belongs to, and the processor time of the relay for each.  Then the same steady load without a relay
and with one: how long orders take, and how old a trade is when a consumer hears of it.
"""

import asyncio
import contextlib
import time
import uuid
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from trade_engine.bench.errors import BenchError
from trade_engine.bench.latency import Timings, run_steady_load
from trade_engine.bench.orders import OrderFlow, run_load
from trade_engine.bench.own_server import RATE_LIMIT, funded_tokens, running_server
from trade_engine.bootstrap.attached import attached_url
from trade_engine.bootstrap.keys import jwt_secret
from trade_engine.bootstrap.relay import make_relay
from trade_engine.config import Config
from trade_engine.messaging.inspection import channel_of, passing
from trade_engine.messaging.relay import Relay
from trade_engine.messaging.topology import Topology

_USERS: Final = 200
_CONNECTIONS: Final = 64
_CAUGHT_UP_S: Final = 300.0
_SETTLED_S: Final = 2.0
_WITHOUT: Final = {"RABBITMQ_URL": "", "TRADE_ENGINE__RABBITMQ__URL": ""}
#: Nobody listens on it.
_NOWHERE: Final = "amqp://127.0.0.1:9/"


class _Told(msgspec.Struct):
    occurred_at: str


_decoder = msgspec.json.Decoder(_Told)


async def measure_relay(folder: Path, config: Config, rate: int, seconds: float, seed: int) -> dict[str, Any]:
    """The figures.

    Raises:
        BenchError: no RabbitMQ is configured, or the relay does not get on.
    """
    url = config.rabbitmq.url
    if url is None:
        raise BenchError("rabbitmq.url is not set (or RABBITMQ_URL): the benchmark needs a RabbitMQ of its own")
    mark = uuid.uuid4().hex[:8]
    topology = Topology(f"bench.trade.{mark}", f"bench.order.{mark}")
    with_relay = {
        "TRADE_ENGINE__RABBITMQ__URL": url,
        "TRADE_ENGINE__RABBITMQ__EXCHANGE_TRADE_EVENTS": topology.trade_events,
        "TRADE_ENGINE__RABBITMQ__EXCHANGE_ORDER_EVENTS": topology.order_events,
    }
    try:
        figures = await _catch_up(folder / "backlog", config, topology, with_relay, seconds, seed)
        without, _ = await _steady(folder / "without", config, _WITHOUT, rate, seconds, seed, None)
        steady, ages_ms = await _steady(folder / "with", config, with_relay, rate, seconds, seed, (url, topology))
    finally:
        async with channel_of(url) as channel:
            for exchange in (topology.trade_events, topology.order_events):
                await channel.exchange_delete(exchange=exchange)
    p99, p99_without = _percentile(steady.order_ms, 0.99), _percentile(without.order_ms, 0.99)
    return figures | {
        "lag_p50_ms": _percentile(ages_ms, 0.5),
        "lag_p99_ms": _percentile(ages_ms, 0.99),
        "trades_heard": len(ages_ms),
        "order_p99_ms": p99,
        "order_p99_ms_without_relay": p99_without,
        "ratio_of_p99": round(p99 / p99_without, 2) if p99_without else 0.0,
        "orders": len(steady.order_ms),
        "errors": steady.errors + without.errors,
        "rate": rate,
        "rate_limit": RATE_LIMIT,
    }


async def _catch_up(
    data_dir: Path, config: Config, topology: Topology, with_relay: dict[str, str], seconds: float, seed: int
) -> dict[str, Any]:
    """Make a backlog, then let the relay catch up."""
    data_dir.mkdir()
    place = data_dir / "data"
    nowhere = with_relay | {"TRADE_ENGINE__RABBITMQ__URL": _NOWHERE}
    names = {"exchange_trade_events": topology.trade_events, "exchange_order_events": topology.order_events}
    relayed = msgspec.structs.replace(config, rabbitmq=msgspec.structs.replace(config.rabbitmq, **names))
    with running_server(place, **nowhere) as port:
        async with attached_url(config, place) as url:
            flow = OrderFlow(await funded_tokens(url, jwt_secret(config, place), _USERS), seed)
            tally, _ = await run_load("127.0.0.1", port, flow, connections=_CONNECTIONS, seconds=seconds)
            await asyncio.sleep(_SETTLED_S)
    async with attached_url(config, place) as url:
        relay = make_relay(relayed, url, lambda: time.time_ns() // 1000)
        if relay is None:
            raise BenchError("rabbitmq.url is not set")
        await relay.begin()
        started, cpu_s = time.perf_counter(), time.process_time()
        working = asyncio.create_task(relay.run())
        try:
            await _until_caught_up(relay)
            took, cpu_s = time.perf_counter() - started, time.process_time() - cpu_s
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)
            await relay.stop()
    messages = relay.counts.published
    return {
        "messages_per_s": round(messages / took),
        "cpu_us_per_message": round(cpu_s * 1e6 / max(1, messages), 1),
        "backlog_messages": messages,
        "backlog_orders": tally.orders,
        "unconfirmed": relay.counts.unconfirmed,
    }


async def _until_caught_up(relay: Relay) -> None:
    until = time.monotonic() + _CAUGHT_UP_S
    while relay.lag_commands or relay.lag_s or not relay.is_up:
        if time.monotonic() > until:
            raise BenchError(f"the relay does not catch up: {relay.condition()}")
        await asyncio.sleep(0.005)


async def _steady(
    folder: Path,
    config: Config,
    settings: dict[str, str],
    rate: int,
    seconds: float,
    seed: int,
    heard: tuple[str, Topology] | None,
) -> tuple[Timings, list[float]]:
    """A steady load: what orders took, and how old each trade was when it was heard of, milliseconds."""
    folder.mkdir()
    place = folder / "data"
    ages_ms: list[float] = []
    with running_server(place, **settings) as port:
        async with attached_url(config, place) as url:
            tokens = await funded_tokens(url, jwt_secret(config, place), _USERS)
            listening = asyncio.create_task(_hear(*heard, ages_ms)) if heard else None
            try:
                timings = await run_steady_load(
                    "127.0.0.1", port, OrderFlow(tokens, seed), tokens[0], rate=rate, seconds=seconds
                )
                await asyncio.sleep(_SETTLED_S)
            finally:
                if listening is not None:
                    listening.cancel()
                    await asyncio.gather(listening, return_exceptions=True)
    return timings, ages_ms


async def _hear(url: str, topology: Topology, ages_ms: list[float]) -> None:
    """Note how old each trade is when it comes, by this machine's clock."""
    async with (
        channel_of(url) as channel,
        contextlib.aclosing(passing(channel, topology, "trade.executed.#")) as stream,
    ):
        async for event in stream:
            made = datetime.fromisoformat(_decoder.decode(event.body).occurred_at)
            ages_ms.append((time.time() - made.timestamp()) * 1e3)


def _percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values) or [0.0]
    return round(ordered[int(len(ordered) * share)], 2)
