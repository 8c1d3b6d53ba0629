"""Rate limits counted in Redis, so that several processes share them; it keeps ``edge.limits.RateLimits``.

One atomic script judges and counts.  Requests that arrive together share one call of it: while a call is under way
the next requests gather, so that a busy server pays a round trip for many requests, never for one after the other.

Redis decides by its own clock, which all processes share.  If it is away, or does not answer in time, this process
counts by itself from that moment (every caller starts with a full bucket there), says so once, and looks for Redis in
the background: a request never fails and never hangs because of Redis.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

import structlog

from trade_engine.cache.inspection import ClusterRefused
from trade_engine.cache.server import TROUBLE, RedisServer, RedisSettings
from trade_engine.edge.limits import Demand, LocalLimits, Verdict, judge
from trade_engine.edge.settings import LimitSettings, RateLimit

log = structlog.get_logger(__name__)

#: Requests of one call at most, so that Redis is never busy for long.
_BATCH: Final = 128
#: A tolerance that nothing exceeds, which a script's number still holds exactly.
_ANY_US: Final = 1 << 53

#: KEYS: one a demand.  ARGV: the time ('' is Redis's own), then for each request how many demands it has, and for each
#: of them interval, tolerance and cost.  All times are whole microseconds, so that every sum is exact.
#: Answers for each demand in how many microseconds its bucket was full; counts a request only if all demands fit.
_SCRIPT: Final = """
local now = tonumber(ARGV[1])
if not now then
    local time = redis.call('TIME')
    now = time[1] * 1000000 + time[2]
end
local answers, first, arg = {}, 1, 2
while arg <= #ARGV do
    local last = first + ARGV[arg] - 1
    local fits, after = true, {}
    for key = first, last do
        local terms = arg + 1 + 3 * (key - first)
        local full_in = math.max(0, tonumber(redis.call('GET', KEYS[key]) or '0') - now)
        after[key] = full_in + ARGV[terms] * ARGV[terms + 2]
        fits = fits and after[key] <= tonumber(ARGV[terms + 1])
        answers[key] = full_in
    end
    if fits then
        for key = first, last do
            local life_ms = math.ceil(after[key] / 1000) + 1
            redis.call('SET', KEYS[key], string.format('%.0f', now + after[key]), 'PX', life_ms)
        end
    end
    arg = arg + 1 + 3 * (last - first + 1)
    first = last + 1
end
return answers
"""


class _Waiting:
    """A request that waits for its verdicts; ``forced``: a debit, which is counted whatever the limit says."""

    __slots__ = ("demands", "done", "forced")

    def __init__(self, demands: list[Demand], *, forced: bool = False) -> None:
        self.demands = demands
        self.forced = forced
        self.done: asyncio.Future[list[Verdict]] = asyncio.get_running_loop().create_future()

    def answer(self, verdicts: list[Verdict]) -> None:
        if not self.done.done():
            self.done.set_result(verdicts)


class RedisLimits:
    """Limits counted in Redis, and in this process while it is away; ``start`` it, ``aclose`` it.

    Args:
        settings: where Redis is.
        limits: the limits by name.
        clock: seconds, instead of Redis's own clock; for tests.

    Raises:
        ValueError: a limit or the URL makes no sense.
    """

    def __init__(
        self, settings: RedisSettings, limits: LimitSettings, clock: Callable[[], float] | None = None
    ) -> None:
        self._settings = settings
        self._local = LocalLimits(limits, clock) if clock else LocalLimits(limits)
        self._clock = clock
        self._limits = _intervals(limits)
        #: Those, and of such as were turned off meanwhile the last terms, by which what waits is still judged.
        self._terms = self._limits
        self._server = RedisServer(settings, looks=True)
        self._key_prefix = f"{settings.key_prefix}limit:"
        self._script = self._server.redis.register_script(_SCRIPT)
        self._waiting: deque[_Waiting] = deque()
        self._calling: asyncio.Task[None] | None = None
        self._looking: asyncio.Task[None] | None = None

    def set_limits(self, settings: LimitSettings) -> None:
        """Have other limits from now on; see ``edge.limits.RateLimits``."""
        self._local.set_limits(settings)
        self._limits = _intervals(settings)
        self._terms = self._terms | self._limits

    async def start(self) -> None:
        """See whether Redis answers; if not, go on without it.

        Raises:
            ClusterRefused: it answers, and belongs to a cluster.
        """
        try:
            await self._server.reach()
        except TROUBLE as error:
            self._go_without(error)

    async def aclose(self) -> None:
        """Let go of Redis; whoever waits is answered by this process."""
        for task in (self._calling, self._looking):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        self._answer_locally(list(self._waiting))
        self._waiting.clear()
        await self._server.aclose()

    def condition(self) -> str:
        """``ok``, or ``degraded`` while this process counts by itself."""
        return "ok" if self._looking is None else "degraded"

    async def take(self, demands: Sequence[Demand]) -> list[Verdict]:
        """Count a request; see ``edge.limits.RateLimits``."""
        if self._looking is not None:
            return self._local.take_now(demands)
        counted = [demand for demand in demands if demand.name in self._limits]
        if not counted:
            return []
        waiting = _Waiting(counted)
        self._enqueue(waiting)
        return await waiting.done

    def debit(self, demand: Demand) -> None:
        """Count a cost afterwards, with the next call; see ``edge.limits.RateLimits``."""
        if self._looking is not None:
            self._local.debit(demand)
        elif demand.name in self._limits:
            self._enqueue(_Waiting([demand], forced=True))

    def _enqueue(self, waiting: _Waiting) -> None:
        self._waiting.append(waiting)
        if self._calling is None or self._calling.done():
            # A task starts in the loop's next round, so that all requests of this one are in its first call.
            self._calling = asyncio.create_task(self._call(), name="rate limits")

    async def _call(self) -> None:
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), _BATCH))]
            try:
                full_in_us = await self._ask(batch)
            except TROUBLE as error:
                self._go_without(error)
                self._answer_locally([*batch, *self._waiting])
                self._waiting.clear()
                return
            except asyncio.CancelledError:
                self._answer_locally(batch)
                raise
            answers = iter(full_in_us)
            for waiting in batch:
                waiting.answer(
                    [judge(self._terms[demand.name][0], next(answers) / 1e6, demand.cost) for demand in waiting.demands]
                )

    async def _ask(self, batch: list[_Waiting]) -> list[int]:
        keys: list[str] = []
        arguments: list[str | int] = ["" if self._clock is None else round(self._clock() * 1e6)]
        for waiting in batch:
            arguments.append(len(waiting.demands))
            for name, caller, cost in waiting.demands:
                limit, interval_us = self._terms[name]
                keys.append(f"{self._key_prefix}{name}:{caller}")
                arguments += (interval_us, _ANY_US if waiting.forced else interval_us * limit.burst, cost)
        async with asyncio.timeout(self._server.timeout_s):
            answers: list[Any] = await self._script(keys=keys, args=arguments)
        return [int(answer) for answer in answers]

    def _answer_locally(self, batch: list[_Waiting]) -> None:
        for waiting in batch:
            if waiting.forced:
                self._local.debit(waiting.demands[0])
            else:
                waiting.answer(self._local.take_now(waiting.demands))

    def _go_without(self, error: BaseException) -> None:
        log.warning("redis_away", means="this process counts rate limits by itself", error=repr(error))
        self._looking = asyncio.create_task(self._look(), name="looking for Redis")

    async def _look(self) -> None:
        """Until Redis answers again."""
        while True:
            await self._server.drop_connections()
            await asyncio.sleep(self._settings.retry_every_s)
            try:
                await self._server.reach()
            except (*TROUBLE, ClusterRefused):
                continue
            log.info("redis_back")
            self._looking = None
            return


def _intervals(limits: LimitSettings) -> dict[str, tuple[RateLimit, int]]:
    """The limits that are not off, with their whole microseconds a request."""
    found = {}
    for name, limit in limits.by_name().items():
        if limit.rate_per_s:
            interval_us = max(1, round(1e6 / limit.rate_per_s))
            found[name] = RateLimit(1e6 / interval_us, limit.burst), interval_us
    return found
