"""`make fault`: the whole fault drill; one line a case, a last line of figures, the evidence in a file."""

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from pathlib import Path

import asyncpg
import uvloop

from tests.fault.drill import Case, drill_world, faults, outage, permanent_refusal
from tests.fault.hot_wallets import hot_wallets
from tests.harness.postgres import TestServer
from trade_engine.bench.machine import machine
from trade_engine.ops.logging import configure_logging
from trade_engine.wallet.audit import PostgresLedger


async def drill(engine_url: str, wallet_url: str, options: argparse.Namespace) -> list[Case]:
    """All cases, in order; each line as it is known."""
    cases: list[Case] = []

    def tell(case: Case) -> None:
        cases.append(case)
        print(case.line, flush=True)

    with tempfile.TemporaryDirectory(prefix="trade-engine-fault-") as folder:
        world = drill_world(
            engine_url, wallet_url, Path(folder), seed=options.seed, users=50, breaker_open_s=options.breaker_open
        )
        async with world as running:
            tell(await faults(running, options.orders, options.connections, options.rate))
            tell(await permanent_refusal(running))
            tell(await outage(running, options.outage, options.connections))
    async with asyncpg.create_pool(wallet_url, min_size=1, max_size=16) as pool:
        ledger = PostgresLedger(pool, reserve_timeout_s=60, timeout_s=60)
        tell(await hot_wallets(ledger, tasks=50, transfers=options.transfers, wallets=20, seed=options.seed))
    return cases


def main() -> int:
    """Run it; 1 if a case failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--orders", type=int, default=10_000, help="orders under faults")
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--rate", type=float, default=0.2, help="share of the wallet's requests that meet a fault")
    parser.add_argument("--outage", type=float, default=60.0, help="seconds without a wallet")
    parser.add_argument("--breaker-open", type=float, default=30.0, help="seconds that the breaker stays open")
    parser.add_argument("--transfers", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    parser.add_argument("--evidence", type=Path, default=Path("build/fault-evidence.json"))
    options = parser.parse_args()
    configure_logging("critical", "json")
    print(f"seed {options.seed}; engine, wallet service, proxy and load on this machine: {machine()}", flush=True)
    started = time.monotonic()
    server = TestServer()
    server.start()
    try:
        engine_url, wallet_url = server.migrated(), server.migrated()
        uvloop.install()
        cases = asyncio.run(drill(engine_url, wallet_url, options))
    finally:
        server.stop()
    failed = sum(bool(case.wrong) for case in cases)
    took = round(time.monotonic() - started, 1)
    options.evidence.parent.mkdir(parents=True, exist_ok=True)
    evidence = {
        "seed": options.seed,
        "machine": machine(),
        "seconds": took,
        "cases": [{"name": case.name, "figures": case.figures, "wrong": case.wrong} for case in cases],
    }
    options.evidence.write_text(json.dumps(evidence, indent=1))
    print(f"{len(cases)} cases, {failed} failed, {took} s; evidence in {options.evidence}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
