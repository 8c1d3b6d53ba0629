"""`make stops`: a stop under load and upgrades under load; a line of JSON each."""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from tests.harness.postgres import TestServer, new_data_dir, remove_data_dir
from tests.integration.test_released import RELEASES
from tests.stops.crowd import Stopped, stop_under_load
from tests.stops.upgrade import Upgraded, upgrade
from trade_engine.bench.machine import machine
from trade_engine.ops.logging import configure_logging


def tell(drill: str, work: Callable[[], Stopped | Upgraded]) -> bool:
    """Do it and print what came of it; whether all is right."""
    began_s = time.monotonic()
    found: dict[str, object]
    try:
        found = msgspec.to_builtins(work())
    except AssertionError as error:
        found = {"wrong": [str(error)]}
    seconds = round(time.monotonic() - began_s, 1)
    told = {"drill": drill, "ok": not found["wrong"], **found, "seconds": seconds, "machine": machine()}
    print(json.dumps(told), flush=True)
    return not found["wrong"]


def main() -> int:
    """Run them; 1 if something was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=500, help="orders a second until SIGTERM")
    parser.add_argument("--seconds", type=float, default=10, help="for so long")
    options = parser.parse_args()
    configure_logging("critical", "json")
    data_dir, right = new_data_dir(), True
    server = TestServer()
    server.start()
    try:
        with tempfile.TemporaryDirectory(prefix="te-stops-") as made:
            folder = Path(made)
            right &= tell(
                "stop",
                lambda: stop_under_load(
                    data_dir, folder / "engine.yaml", orders=int(options.rate * options.seconds), rest=48, sockets=16,
                    rate=options.rate, within_s=options.seconds,
                ),
            )  # fmt: skip
            for release in (None, *RELEASES):
                url = server.migrated() if release is None else server.empty()
                place = folder / ("before" if release is None else release.stem)

                def again(url: str = url, place: Path = place, release: Path | None = release) -> Upgraded:
                    return asyncio.run(upgrade(url, place, release=release, orders=500, connections=16))

                right &= tell("upgrade", again)
    finally:
        remove_data_dir(data_dir)
        server.stop()
    return not right


if __name__ == "__main__":
    sys.exit(main())
