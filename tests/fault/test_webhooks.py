"""The short form of the drill with a receiver of webhooks: three seconds of failures under load."""

from pathlib import Path

import msgspec

from tests.fault.webhooks import _WRONG, drill


async def test_a_receiver_that_fails_gets_everything_afterwards(
    database_url: str, rabbit_url: str, tmp_path: Path
) -> None:
    quick = {"WEBHOOKS__FIRST_PAUSE_S": "0.2", "WEBHOOKS__LONGEST_PAUSE_S": "1", "WEBHOOKS__TIMEOUT_S": "0.5"}
    figures = await drill(database_url, rabbit_url, tmp_path, 3.0, 40, 7, quick, taken_s=60.0)
    assert figures.acknowledged > 50
    assert figures.failed_attempts > 2
    assert figures.events > figures.acknowledged
    assert not any(msgspec.structs.asdict(figures)[name] for name in _WRONG), figures
