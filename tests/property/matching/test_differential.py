"""The two books are one engine: the differential run as a test (N from DIFFERENTIAL_COMMANDS, seed printed)."""

import os

import pytest

from tests.harness.seeds import seed
from tests.property.matching import differential
from trade_engine.domain.events import EventKind
from trade_engine.matching.books import native_available

_IN_CI = os.environ.get("CI") == "true"
_COMMANDS = int(os.environ.get("DIFFERENTIAL_COMMANDS") or (1_000_000 if _IN_CI else 100_000))

#: From here on, everything that can happen has happened.
_ENOUGH = 500_000


@pytest.mark.skipif(not native_available() and not _IN_CI, reason="the native book is not built: run native/build.sh")
@pytest.mark.bulk
def test_both_books_give_the_same_events_and_state_hash() -> None:
    counts = differential.run(_COMMANDS, seed(20_260_101))
    print(differential.show(counts))
    refused = sum(count for (kind, _), count in counts.items() if kind == EventKind.REJECTED)
    assert refused < 0.16 * _COMMANDS, f"{refused} of {_COMMANDS} commands were refused: the flow tests too little"
    if _COMMANDS >= _ENOUGH:
        assert not differential.never(counts)
