"""Walks through the steps of a call: pauses, and hands each try to whoever can send it."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from .calls import ApiCall
from .repeating import Answered, Retry, Try, carry_out

T = TypeVar("T")


def drive(call: ApiCall[T], retry: Retry, send: Callable[[Try], Answered]) -> T:
    """Carry out a call by waiting.

    Raises:
        ClientError: as its module draws it.
    """
    steps = carry_out(call, retry, time.monotonic, random.random)
    answered: Answered = None
    while True:
        try:
            step = steps.send(answered)
        except StopIteration as end:
            result: T = end.value
            return result
        if isinstance(step, Try):
            answered = send(step)
        else:
            answered = None
            time.sleep(step.seconds)


async def drive_async(call: ApiCall[T], retry: Retry, send: Callable[[Try], Awaitable[Answered]]) -> T:
    """Carry out a call on the event loop.

    Raises:
        ClientError: as its module draws it.
    """
    steps = carry_out(call, retry, time.monotonic, random.random)
    answered: Answered = None
    while True:
        try:
            step = steps.send(answered)
        except StopIteration as end:
            result: T = end.value
            return result
        if isinstance(step, Try):
            answered = await send(step)
        else:
            answered = None
            await asyncio.sleep(step.seconds)
