"""Runs stories with one client, in that client's own venv: a cell a line comes in, its outcome goes out as a line.

    python driver.py ccxt_rest

It imports nothing of the engine, and of the tests only the stories and the adapter that is named.
"""

import importlib
import json
import sys
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))


def main() -> None:
    """Answer until there is nothing more to do."""
    answers = sys.stdout
    # What a client prints is not an answer.
    sys.stdout = sys.stderr
    adapter = importlib.import_module(f"adapters.{sys.argv[1]}")
    streams = importlib.import_module("stream_stories")
    told = importlib.import_module("stories").STORIES | streams.STREAM_STORIES | streams.LIST_STORIES
    for line in sys.stdin:
        cell = json.loads(line)
        failure = None
        try:
            me, other = (
                adapter.Account(cell["url"], cell[who], cell["base"], cell["quote"]) for who in ("me", "other")
            )
            told[cell["story"]](me, other)
        except Exception:  # noqa: BLE001 - whatever it is, it is this cell's
            failure = traceback.format_exc()
        answers.write(json.dumps({"story": cell["story"], "failure": failure}) + "\n")
        answers.flush()


main()
