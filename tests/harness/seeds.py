"""Where random tests begin: at the same place each time, unless ``TEST_SEED`` says otherwise.

A run that must be green or red for a reason does not draw lots.  ``make explore`` does: it sets ``TEST_SEED=random``.
"""

import os
import random
from typing import Final

_GIVEN: Final = os.environ.get("TEST_SEED", "")
#: Whether tests look for what they have not seen yet.
EXPLORING: Final = _GIVEN == "random"


def seed(default: int) -> int:
    """The seed of a test, printed, so that a failure can be repeated."""
    chosen = random.SystemRandom().getrandbits(32) if EXPLORING else int(_GIVEN or default)
    print(f"TEST_SEED={chosen}")
    return chosen
