"""The samples of the README and the traders' guides, one after the other, beside a server as `make run` starts it."""

import os
from pathlib import Path

import pytest

from tests.e2e.client.samples import README, SAMPLES, Demo, MissingTool, orders_left, typed


async def test_every_sample_in_reading_order(database_url: str, tmp_path: Path) -> None:
    demo, missing = Demo(tmp_path, database_url), []
    try:
        await demo.start()
        for sample in SAMPLES.values():
            try:
                await sample(demo)
            except MissingTool as error:
                if os.environ.get("CI") == "true":
                    raise
                missing.append(str(error))
        assert await orders_left(demo) == ""
    finally:
        await demo.stop()
    if missing:
        pytest.skip(f"all but some: {', '.join(missing)}")


def test_what_is_typed_is_found_with_what_it_prints() -> None:
    tour = typed(README)
    assert tour[0].command.startswith("TOKEN=$(")
    assert tour[1].command.endswith("}'")
    assert '"status":"OPEN"' in tour[1].shown
