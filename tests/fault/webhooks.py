"""A receiver of webhooks that fails for a minute under order load: afterwards it gets every event, in order.

An engine as a process of its own that tells RabbitMQ and sends webhooks, a receiver that refuses, then hangs, then is
gone, each for a third of the time.  What it takes in the end is held against an independent consumer of RabbitMQ.
``python -m tests.fault.webhooks`` prints the figures as one line of JSON; ``make fault`` calls it.
"""

import asyncio
import json
import sys
import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import msgspec

from tests.e2e.engines import EngineProcess
from tests.fault.other_servers import run_drill, under_load
from tests.harness.events import Ear, emptied
from tests.harness.rabbitmq import TestRabbit
from tests.harness.receiver import Receiver, hang
from trade_engine.messaging.topology import NOTIFICATIONS_QUEUE

_WELL_S = 2.0
#: After a minute of failures the next try may be 80 s later.
_TAKEN_S = 240.0
_WRONG = ("missing", "strange", "out_of_order", "unsigned", "dead")


class WebhookFigures(msgspec.Struct):
    """What came of it."""

    acknowledged: int
    #: As the consumer beside it heard them.
    events: int
    missing: int
    #: Taken, and not heard.
    strange: int
    #: Events that were first taken in another place than that in which they were heard, of their market.
    out_of_order: int
    unsigned: int
    repeated: int
    failed_attempts: int
    dead: int
    #: How long the receiver failed, and how long after that it had everything.
    failing_s: float
    caught_up_s: float


async def drill(
    database_url: str, rabbit_url: str, folder: Path, failing_s: float, rate: float, seed: int,
    settings: Mapping[str, str] | None = None, taken_s: float = _TAKEN_S,
) -> WebhookFigures:  # fmt: skip
    """The whole drill: its figures; ``settings`` of the engine besides, ``taken_s`` to take everything afterwards."""
    await emptied(rabbit_url, NOTIFICATIONS_QUEUE)
    ear, receiver = await Ear(rabbit_url).open(), await Receiver().start()
    more = {"WEBHOOKS__ENABLED": "true", "WEBHOOKS__PRIVATE_NETWORKS": "[127.0.0.0/8]", "LOGGING__LEVEL": "warning"}
    engine = EngineProcess(folder, database_url, **ear.settings | more | dict(settings or {}))
    engine.start()
    try:
        await engine.ready()
        adding = ("webhooks", "add", receiver.url, "--name", "drill", "--reason", "a drill", "--json")
        endpoint = json.loads((await asyncio.to_thread(engine.run, *adding)).stdout)
        async with under_load(engine, database_url, rate, seed) as placed:
            await asyncio.sleep(_WELL_S)
            await _fail(receiver, failing_s)
            well_at = time.monotonic()
            await asyncio.sleep(_WELL_S)
        await _all_heard(ear)
        heard = {each.message_id for each in ear.unique()}
        while time.monotonic() < well_at + taken_s and heard - {taken.message_id for taken in receiver.taken}:
            await asyncio.sleep(0.1)
        caught_up_s = time.monotonic() - well_at
        dead = json.loads(
            (await asyncio.to_thread(engine.run, "webhooks", "dead", endpoint["endpoint_id"], "--json")).stdout
        )
        figures = _figures(ear, receiver, endpoint["secret"])
        figures.acknowledged, figures.dead = len(placed), len(dead["dead"])
        figures.failing_s, figures.caught_up_s = failing_s, round(caught_up_s, 1)
        return figures
    finally:
        await receiver.stop()
        engine.stop()
        await ear.close()


async def _fail(receiver: Receiver, seconds: float) -> None:
    """Refuse, hang, be gone; then be well again."""
    receiver.status = 503
    await asyncio.sleep(seconds / 3)
    receiver.misbehave = hang
    await asyncio.sleep(seconds / 3)
    await receiver.stop()
    await asyncio.sleep(seconds / 3)
    receiver.misbehave, receiver.status = None, 200
    await receiver.start()


async def _all_heard(ear: Ear) -> None:
    """Wait until nothing more comes."""
    count = -1
    while count != len(ear.heard):
        count = len(ear.heard)
        await asyncio.sleep(2.0)


def _figures(ear: Ear, receiver: Receiver, secret: str) -> WebhookFigures:
    heard, taken = defaultdict[str, list[str]](list), defaultdict[str, list[str]](list)
    for each in ear.unique():
        heard[each.body["symbol"]].append(each.message_id)
    firsts = {each.message_id: each.event["symbol"] for each in receiver.taken}
    for message_id, symbol in firsts.items():
        taken[symbol].append(message_id)
    known = {each.message_id for each in ear.unique()}
    return WebhookFigures(
        acknowledged=0,
        events=len(known),
        missing=len(known - firsts.keys()),
        strange=len(firsts.keys() - known),
        out_of_order=sum(a != b for symbol in heard for a, b in zip(heard[symbol], taken[symbol], strict=False)),
        unsigned=sum(not each.is_signed_with(secret) for each in receiver.taken),
        repeated=len(receiver.taken) - len(firsts),
        failed_attempts=receiver.requests - len(receiver.taken),
        dead=0,
        failing_s=0.0,
        caught_up_s=0.0,
    )


def main() -> int:
    """Run it on servers of its own; 1 if anything is missing, out of order, wrongly signed or dead."""
    rabbit = TestRabbit()
    return run_drill(
        __doc__,
        rabbit,
        lambda url, folder, given: drill(url, rabbit.url, folder, given.failing, given.rate, given.seed),
        _WRONG,
        failing=60.0,
        rate=50.0,
    )


if __name__ == "__main__":
    sys.exit(main())
