"""`make planted`: plants every falsification, one by one, and demands that each is told: where, and what."""

import asyncio
import json
import re
import sys
import time

import asyncpg

from tests.harness.postgres import TestServer
from tests.planted.ground import Ground, Verdict, wait_for_none
from tests.planted.more_plants import OWN
from tests.planted.plants import EARLIER, Plant

EVERY = (*EARLIER, *OWN)


def reported(plant: Plant, verdict: Verdict) -> bool:
    """Whether one of the differences says what it has to."""
    return any(re.search(plant.says, difference) for difference in verdict.all)


async def run(url: str, wanted: list[str]) -> int:
    """Plant all; how many were not reported as they should."""
    ground = Ground(url)
    started = time.monotonic()
    await ground.prepare()
    await wait_for_none(url)
    clean = await ground.unplanted()
    print(f"the database took {time.monotonic() - started:.0f} s; unplanted: {clean.all or 'clean'}", flush=True)
    chosen = [plant for plant in EVERY if not wanted or any(word in plant.name for word in wanted)]
    told = 0
    for plant in chosen:
        try:
            verdict = await ground.planted(plant)
        except (AssertionError, asyncpg.PostgresError) as error:
            print(f"NOT PLANTED {plant.name}: {error!r}", flush=True)
            continue
        fine = reported(plant, verdict)
        told += fine
        by = f"{'verify' if verdict.verify else '':6} {'reconcile' if verdict.reconcile else '':9}"
        shown = next((line for line in verdict.all if re.search(plant.says, line)), "; ".join(verdict.all[:4]))
        print(f"{'told  ' if fine else 'MISSED'} {by} {plant.name}: {shown[:300]}", flush=True)
    print(f"{time.monotonic() - started:.0f} s")
    print(json.dumps({"planted": len(chosen), "reported": told}))
    return len(chosen) - told + len(clean.all)


def main() -> None:
    """Run on a server of the tests' own; words on the command line choose plants by name."""
    server = TestServer()
    server.start()
    url = server.migrated()
    try:
        missed = asyncio.run(run(url, sys.argv[1:]))
    finally:
        server.drop(url)
        server.stop()
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
