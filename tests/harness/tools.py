"""Programs of the system that a test calls; ``.ci/run`` and the README's command install them."""

import os
import shutil

import pytest


def tool(name: str) -> str:
    """Where a program is; without it the test is skipped, except in CI."""
    found = shutil.which(name)
    if found is None:
        if os.environ.get("CI") == "true":
            raise FileNotFoundError(name)
        pytest.skip(f"{name} is not on PATH: see the README for what tests want of the system")
    return found
