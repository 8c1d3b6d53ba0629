"""What the fuzzer is told of the venue: most generated markets do not exist, so most are replaced by one that does.

Loaded by schemathesis (``SCHEMATHESIS_HOOKS``).  Which ones depends on the generated text alone: a seed repeats a run.
"""

import zlib
from typing import Any

import schemathesis

from tests.fuzz.venue import SYMBOL


def _often(generated: Any) -> bool:
    return zlib.crc32(repr(generated).encode()) % 4 != 0


def _real(generated: Any) -> Any:
    if isinstance(generated, dict) and isinstance(generated.get("symbol"), str) and _often(generated):
        return generated | {"symbol": SYMBOL}
    return generated


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Give a well-formed request a market that exists; malformed ones stay as they are."""
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    case.path_parameters, case.query = _real(case.path_parameters), _real(case.query)
    if not case.operation.path.endswith("/admin/markets"):
        case.body = _real(case.body)
