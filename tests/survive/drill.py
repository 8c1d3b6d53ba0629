"""The drill: rounds of load, strangers and poison with one fault each, checked from outside after every round."""

import asyncio
import contextlib
import json
import random
import subprocess
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from tests.survive.crowd import Trader
from tests.survive.faults import FAULTS
from tests.survive.poison import Poisoner
from tests.survive.processes import end, spawn
from tests.survive.record import Outcome, Record
from tests.survive.truth import compare, stored_orders
from tests.survive.wire import Line
from tests.survive.world import PATIENCE_S, World
from trade_engine.bench.attacks import STRANGERS

#: An engine that is not ready this long after a fault is stuck.
STUCK_S: Final = 45.0
_USERS: Final = 5
_LINES_EACH: Final = 2
_DRAINED_S: Final = 120.0


class NeverAgain(Exception):
    """The engine is down for good: there is nothing left to drill."""


class Score(msgspec.Struct):
    """The last line of a drill."""

    rounds: int = 0
    acknowledged: int = 0
    lost: int = 0
    doubled: int = 0
    invented: int = 0
    stuck: int = 0
    overdue: int = 0
    faults_500: int = 0
    rebuilds: int = 0
    worst_ready_s: float = 0.0
    worst_stranger_ms: float = 0.0
    verify_ok: bool = False
    reconcile_ok: bool = False
    left_reserved: int = -1

    @property
    def good(self) -> bool:
        """Whether the engine survived."""
        wrong = self.lost, self.doubled, self.invented, self.stuck, self.overdue, self.faults_500, self.left_reserved
        return not any(wrong) and self.verify_ok and self.reconcile_ok


class Drill:
    """A world, its people, and what came of it."""

    def __init__(self, world: World, seed: int, tell: Callable[[str], None], *, peaceful: bool = False) -> None:
        self.world = world
        #: No strangers and no poison: what a fault does by itself.
        self._peaceful = peaceful
        self.record = Record()
        self.score = Score()
        self.findings: list[str] = []
        self._tell = tell
        self._rng = random.Random(seed)
        self._users = [str(uuid.UUID(int=self._rng.getrandbits(128), version=4)) for _ in range(_USERS + 2)]
        self._traders: list[Trader] = []
        self._poisoner: Poisoner | None = None
        self._looks: list[tuple[float, float]] = []
        self._stranger: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """Fund everybody and let the polite stranger look."""
        for user in self._users:
            await self.world.fund(user, USDT=50_000_000, BTC=5_000, ETH=50_000)
        for number, user in enumerate(self._users[:_USERS]):
            for line in range(_LINES_EACH):
                caller = Line(self.world.port, f"127.0.1.{number + 1}", self.world.token(user), PATIENCE_S)
                rng = random.Random(self._rng.getrandbits(64))
                self._traders.append(Trader(self.record, caller, user, f"u{number}-{line}", rng))
        self._poisoner = Poisoner(
            self.world, self.record, (self._users[-2], self._users[-1]), random.Random(self._rng.getrandbits(64))
        )

    async def rounds(self, faults: Sequence[str]) -> None:
        """One round of each fault, in order."""
        stranger = spawn(
            ("-m", "tests.survive.polite", str(self.world.engine.port)), log=self.world.folder / "stranger"
        )
        try:
            for number, name in enumerate(faults):
                await self._round(number + 1, name)
        finally:
            await end(stranger)

    async def _round(self, number: int, name: str) -> None:
        world, rng, fault = self.world, self._rng, FAULTS[name]
        assert self._poisoner is not None
        going = asyncio.Event()
        going.set()
        started = time.monotonic()
        poisoned, attack = (
            rng.random() < 0.6 or name == "nothing",
            rng.choice((None, *STRANGERS)) if rng.random() < 0.6 else None,
        )
        if self._peaceful:
            poisoned, attack = False, None
        people = [asyncio.create_task(trader.trade(going)) for trader in self._traders]
        if poisoned:
            people.append(asyncio.create_task(self._poisoner.hurt(going)))
        attacker = self._attack(attack) if attack else None
        wrong: list[str] = []
        try:
            await asyncio.sleep(rng.uniform(0.5, 1.5))
            try:
                wrong += await fault.do(world, rng)
            except Exception as error:  # noqa: BLE001 - a fault that cannot be done is a finding, not the end
                wrong.append(f"the fault could not be done: {error!r}")
            ready_s = await self._ready_again(name)
            if ready_s is not None:
                self.score.worst_ready_s = max(self.score.worst_ready_s, round(ready_s, 2))
                await asyncio.sleep(rng.uniform(0.3, 0.8))
        finally:
            going.clear()
            await _finish(people, 3 * PATIENCE_S)
            if attacker is not None:
                await end(attacker)
        if not fault.outage:
            self.score.worst_stranger_ms = max(self.score.worst_stranger_ms, self._waited(started))
        wrong += await self.check()
        self.score.rounds += 1
        took, acknowledged = time.monotonic() - started, sum(1 for _ in self.record.of(Outcome.ACKNOWLEDGED))
        with_ = " + ".join(filter(None, (name, "poison" if poisoned else "", attack)))
        shown = "stuck" if ready_s is None else f"ready after {ready_s:.1f} s"
        self._tell(f"{number:3} {with_}: {shown}, {acknowledged} acknowledged, {took:.1f} s")
        for text in wrong:
            self.findings.append(f"round {number} ({with_}): {text}")
            self._tell(f"    {text[:1500]}")

    def _attack(self, kind: str) -> "subprocess.Popen[bytes]":
        engine = self.world.engine
        return spawn(("-m", "trade_engine.bench.attacks", kind, str(engine.port), str(engine.websocket_port), "60"))

    def _waited(self, since_s: float) -> float:
        """The longest that the polite stranger waited since then, in milliseconds."""
        worst = 0.0
        for line in (self.world.folder / "stranger").read_text().splitlines():
            with contextlib.suppress(ValueError):
                asked_s, took_ms = map(float, line.split())
                if asked_s >= since_s:
                    worst = max(worst, took_ms)
        return worst

    async def _ready_again(self, name: str) -> float | None:
        """Seconds until the engine says it is ready and takes an order; None: it is stuck, and was killed."""
        started = time.monotonic()
        while (left_s := STUCK_S - (time.monotonic() - started)) > 0:
            if await self.world.ready(left_s) is not None and await self._takes_orders():
                return time.monotonic() - started
            await asyncio.sleep(0.1)
        self.score.stuck += 1
        self.findings.append(f"stuck after {name}: {self.world.engine.last_words()}")
        self._tell(f"    stuck after {name}: " + "\n      ".join(self.world.engine.last_words()))
        self.world.cut_off()
        if await self.world.ready(3 * STUCK_S) is None:
            raise NeverAgain("the engine does not start again: " + "\n".join(self.world.engine.last_words()))
        return None

    async def _takes_orders(self) -> bool:
        """Whether an order can be placed: the first trader's, so that it is in the record."""
        user = self._users[0]
        caller = Line(self.world.port, "127.0.1.100", self.world.token(user), PATIENCE_S)
        probe = Trader(self.record, caller, user, f"probe-{time.monotonic_ns()}", self._rng)
        try:
            body = {"symbol": "ETH/USDT", "side": "BUY", "type": "LIMIT", "quantity": "0.01", "price": "2900.00"}
            order = await probe.place(body)
            await probe.settle()
            if order.may_live:
                await probe.cancel(order)
            return order.outcome is Outcome.ACKNOWLEDGED or order.why.startswith("4")
        finally:
            probe.close()

    # ---- checks

    @property
    def _everybody(self) -> list[Trader]:
        return [*self._traders, *(self._poisoner.traders if self._poisoner else ())]

    async def check(self) -> list[str]:
        """Ask for what is unknown, then hold the record against the database: what is wrong that was not before."""
        await self.world.count_rebuilds()
        wrong: list[str] = []
        for unknown in await asyncio.gather(*(trader.settle() for trader in self._everybody)):
            for order in unknown:
                self.score.stuck += 1
                wrong.append(f"{order.client_order_id} has no outcome, however often it is asked for")
                order.outcome, order.why = Outcome.REFUSED, "500 given up"
                self.record.orders.pop((order.user_id, order.client_order_id))
        connection = await self.world.connect()
        try:
            verdict = compare(self.record, await stored_orders(connection))
        finally:
            await connection.close()
        before = self.score.lost, self.score.doubled, self.score.invented
        self.score.lost, self.score.doubled = len(verdict.lost), len(verdict.doubled)
        self.score.invented = len(verdict.invented)
        if (self.score.lost, self.score.doubled, self.score.invented) != before:
            wrong += (verdict.lost + verdict.doubled + verdict.invented)[:8]
        wrong += [f"overdue: {text}" for text in self.record.overdue[self.score.overdue :][:3]]
        wrong += [f"500: {text}" for text in self.record.faults[self.score.faults_500 :][:3]]
        self.score.overdue, self.score.faults_500 = len(self.record.overdue), len(self.record.faults)
        return wrong

    async def conclude(self) -> Score:
        """Cancel everything, let money settle, and have the engine's own checks look at all of it."""
        score = self.score
        left = await asyncio.gather(*(trader.leave() for trader in self._everybody))
        if not all(left):
            self.findings.append("a mass cancel was never answered")
        drained = await self._drained()
        if drained:
            self.findings.append(drained)
        await self.check()
        code, output = await self.world.command("verify", "--json")
        score.verify_ok = code == 0
        if code:
            self.findings.append(f"verify: {output[-1500:]}")
        code, output = await self.world.command("reconcile", "--json")
        score.reconcile_ok = code == 0
        if code:
            self.findings.append(f"reconcile: {output[-1500:]}")
        connection = await self.world.connect()
        try:
            rows = await connection.fetch(
                "SELECT user_id::TEXT, asset, reserved FROM wallet.balances WHERE reserved <> 0 AND user_id = ANY($1)",
                self._users,
            )
        finally:
            await connection.close()
        score.left_reserved = len(rows)
        self.findings += [f"left reserved: {row['reserved']} {row['asset']} of {row['user_id']}" for row in rows]
        score.acknowledged = sum(1 for _ in self.record.of(Outcome.ACKNOWLEDGED))
        score.rebuilds = self.world.rebuilds
        return score

    def close(self) -> None:
        """Hang up everybody's connections."""
        for trader in self._everybody:
            trader.close()

    async def _drained(self) -> str:
        """Wait until no order is open and nothing is to be settled; what is left, if it takes too long."""
        until = time.monotonic() + _DRAINED_S
        connection = await self.world.connect()
        try:
            while True:
                open_ = await connection.fetchval("SELECT count(*) FROM orders WHERE is_open")
                waiting = await connection.fetchval("SELECT count(*) FROM settlement_instructions")
                if not open_ and not waiting:
                    return ""
                if time.monotonic() > until:
                    return f"{open_} orders are open and {waiting} instructions wait after everything was cancelled"
                await asyncio.sleep(0.1)
        finally:
            await connection.close()

    def answers(self) -> str:
        """How often each answer came."""
        return json.dumps(dict(sorted(self.record.answers.items(), key=lambda item: -item[1])))


async def _finish(people: list["asyncio.Task[None]"], within_s: float) -> None:
    """Let everybody finish the request they are at; who cannot is a fault of the drill."""
    _, late = await asyncio.wait(people, timeout=within_s)
    for task in late:
        task.cancel()
    for outcome in await asyncio.gather(*people, return_exceptions=True):
        if isinstance(outcome, Exception):
            raise outcome


def schedule(rounds: int, rng: random.Random, kinds: Sequence[str] = tuple(FAULTS)) -> list[str]:
    """So many rounds: every kind before any comes again, in an order of its own each time."""
    deck: list[str] = []
    while len(deck) < rounds:
        deck += rng.sample(kinds, len(kinds))
    return deck[:rounds]
