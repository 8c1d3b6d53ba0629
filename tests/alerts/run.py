"""`make alerts`: the alert drill; a line each alert, a last line of JSON."""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from tests.alerts.drill import drill
from tests.harness.postgres import TestServer
from trade_engine.bench.machine import machine
from trade_engine.ops.logging import configure_logging


def main() -> int:
    """Run it; 1 if an alert is not heard of."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faster", type=int, default=15, help="rules, scrapes and routes are so many times faster")
    options = parser.parse_args()
    configure_logging("critical", "json")
    began_s = time.monotonic()
    server = TestServer()
    server.start()
    wrong, heard = "", []
    try:
        with tempfile.TemporaryDirectory(prefix="te-alerts-") as folder:
            heard = asyncio.run(drill(server.migrated(), server.migrated(), Path(folder), options.faster))
    except AssertionError as error:
        wrong = str(error)
    finally:
        server.stop()
    for found in heard:
        told = found.told or "nobody: another alert explains it"
        print(f"{found.fault:<25} {found.alert:<35} fires after {found.prometheus_s} s; told: {told}")
    print(json.dumps({
        "drill": "alerts", "ok": not wrong, "faster": options.faster, "alerts": msgspec.to_builtins(heard),
        "seconds": round(time.monotonic() - began_s, 1), "wrong": wrong, "machine": machine(),
    }))  # fmt: skip
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
