"""Every client with every story, or those named, and one line of JSON: what ``make conformance`` prints."""

import json
import sys
import tempfile
from pathlib import Path
from typing import Final

from tests.conformance.clients import CLIENTS, Client, Driver, install
from tests.conformance.venue import LiveVenue
from tests.harness.postgres import TestServer

CHOSEN: Final = [client for client in CLIENTS if client.adapter in sys.argv[1:] or not sys.argv[1:]]
CELLS: Final = sum(len(client.stories) for client in CHOSEN)


def main() -> int:
    """Run all cells; 0 if none failed."""
    failed = 0
    postgres = TestServer()
    postgres.start()
    try:
        url = postgres.migrated()
        with tempfile.TemporaryDirectory() as folder:
            venue = LiveVenue(url, Path(folder), CELLS)
            venue.start()
            try:
                failed = sum(_failures(venue, client) for client in CHOSEN)
            finally:
                venue.stop()
    finally:
        postgres.stop()
    stories = {story for client in CHOSEN for story in client.stories}
    print(json.dumps({"clients": len(CHOSEN), "stories": len(stories), "cells": CELLS, "failed": failed}))
    return 1 if failed else 0


def _failures(venue: LiveVenue, client: Client) -> int:
    """How many stories fail with a client; all of them, if it cannot be installed."""
    why = install(client, within_s=600)
    if why is not None:
        print(why, file=sys.stderr)
        return len(client.stories)
    driver, failed = Driver(client), 0
    try:
        for story in client.stories:
            failure = driver.tell(venue.cell(story, client.algorithm))
            if failure is not None:
                failed += 1
                print(f"{client.adapter} {story}: {failure}", file=sys.stderr)
    finally:
        driver.stop()
    print(
        f"{client.adapter} ({client.package} {client.version}): {failed} of {len(client.stories)} failed",
        file=sys.stderr,
    )
    return failed


if __name__ == "__main__":
    sys.exit(main())
