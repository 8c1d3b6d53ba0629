"""Walks through the steps of a call: pauses, and hands each try to whoever can send it."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from trade_engine.client.calls import Call
from trade_engine.client.repeating import Came, Retry, Try, carry_out

T = TypeVar("T")


def drive(call: Call[T], retry: Retry, send: Callable[[Try], Came]) -> T:
    """Carry out a call by waiting.

    Raises:
        ClientError: as its module draws it.
    """
    steps = carry_out(call, retry, time.monotonic, random.random)
    came: Came = None
    while True:
        try:
            step = steps.send(came)
        except StopIteration as end:
            result: T = end.value
            return result
        if isinstance(step, Try):
            came = send(step)
        else:
            came = None
            time.sleep(step.seconds)


async def drive_async(call: Call[T], retry: Retry, send: Callable[[Try], Awaitable[Came]]) -> T:
    """Carry out a call on the event loop.

    Raises:
        ClientError: as its module draws it.
    """
    steps = carry_out(call, retry, time.monotonic, random.random)
    came: Came = None
    while True:
        try:
            step = steps.send(came)
        except StopIteration as end:
            result: T = end.value
            return result
        if isinstance(step, Try):
            came = await send(step)
        else:
            came = None
            await asyncio.sleep(step.seconds)
