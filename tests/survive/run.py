"""`make survive`: mistreats a real engine for a while; one line a round, a last line of figures as JSON."""

import asyncio
import os
import random
import sys

import msgspec

from tests.survive.drill import Drill, NeverAgain, schedule
from tests.survive.faults import FAULTS
from tests.survive.world import World
from trade_engine.bench.machine import machine


def say(text: str) -> None:
    """Print at once."""
    print(text, flush=True)


async def survive(seed: int, faults: list[str]) -> bool:
    """All rounds and the end: whether the engine survived."""
    world = World()
    drill: Drill | None = None
    try:
        await world.start()
        drill = Drill(world, seed, say, peaceful=os.environ.get("SURVIVE_PEACEFUL") == "1")
        await drill.begin()
        try:
            await drill.rounds(faults)
            await drill.conclude()
        except NeverAgain as error:
            drill.findings.append(str(error))
        score = drill.score
        say(f"answers {drill.answers()}")
        for finding in drill.findings:
            say(f"wrong: {finding[:2000]}")
        say(msgspec.json.encode(score).decode())
        return score.good
    finally:
        if drill is not None:
            drill.close()
        await world.stop()


def main() -> int:
    """Run it; 1 unless all is well."""
    seed = int(os.environ.get("SEED") or random.randrange(1 << 30))
    rounds = int(os.environ.get("SURVIVE_ROUNDS") or 60)
    kinds = (os.environ.get("SURVIVE_FAULTS") or ",".join(FAULTS)).split(",")
    say(f"SEED={seed}, {rounds} rounds; engine, PostgreSQL, clients and strangers on this machine: {machine()}")
    return 0 if asyncio.run(survive(seed, schedule(rounds, random.Random(seed), kinds))) else 1


if __name__ == "__main__":
    sys.exit(main())
