"""How answers look on our REST face: ``success``, ``data`` or ``error``, ``meta``, and the headers that go with it."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import msgspec

from trade_engine.domain.errors import EngineError
from trade_engine.edge.limits import Verdict
from trade_engine.edge.problems import MethodNotAllowed, RateLimited, describe, status_of
from trade_engine.edge.rest.call import Answer
from trade_engine.edge.times import show_time

Headers = list[tuple[bytes, bytes]]
_encode: Callable[[Any], bytes] = msgspec.json.Encoder().encode


class ShownFailure(NamedTuple):
    """A refusal as HTTP."""

    status: int
    content: bytes
    headers: Headers


class Envelope(Protocol):
    """What a REST face puts around answers and refusals; all of it is JSON."""

    def success(self, answer: Answer, request_id: str) -> bytes:
        """The body of an answer that is no page."""

    def failure(self, error: EngineError, request_id: str) -> ShownFailure:
        """A refusal."""

    def limits(self, limit: str, verdict: Verdict) -> Headers:
        """What an answer says of the rate limit of that name, which it counted against."""


class EngineEnvelope:
    """Our own.

    Args:
        retry_after_s: what a 503 tells the caller to wait.
    """

    def __init__(self, retry_after_s: int = 1) -> None:
        self._retry_after = str(retry_after_s).encode()

    def success(self, answer: Answer, request_id: str) -> bytes:
        """See ``Envelope``."""
        if answer.plain:
            return _encode(answer.data)
        meta = _meta(request_id)
        if answer.meta:
            meta = meta[:-1] + b"," + _encode(answer.meta)[1:]
        return b'{"success":true,"data":' + _encode(answer.data) + b',"meta":' + meta + b"}"

    def failure(self, error: EngineError, request_id: str) -> ShownFailure:
        """See ``Envelope``."""
        content = b'{"success":false,"error":' + _encode(describe(error)) + b',"meta":' + _meta(request_id) + b"}"
        status = status_of(error)
        return ShownFailure(status, content, self._headers(error, status))

    def limits(self, limit: str, verdict: Verdict) -> Headers:  # noqa: ARG002 - ours are told alike
        """See ``Envelope``."""
        return [
            (b"x-ratelimit-limit", str(verdict.limit).encode()),
            (b"x-ratelimit-remaining", str(verdict.remaining).encode()),
            (b"x-ratelimit-reset", str(int(verdict.reset_s + 0.999)).encode()),
        ]

    def _headers(self, error: EngineError, status: int) -> Headers:
        if isinstance(error, RateLimited):
            return [(b"retry-after", str(max(1, round(error.wait_s + 0.5))).encode())]
        if status in (429, 503):
            return [(b"retry-after", self._retry_after)]
        if status == 401:
            return [(b"www-authenticate", b"Bearer")]
        if isinstance(error, MethodNotAllowed):
            return [(b"allow", ", ".join(error.details["allowed"]).encode())]
        if status == 413:
            return [(b"connection", b"close")]
        return []


def _meta(request_id: str) -> bytes:
    return f'{{"request_id":"{request_id}","timestamp":"{show_time(time.time_ns() // 1000)}"}}'.encode()
