"""How answers look on this face: the bare data, ``{"code", "msg"}`` for a refusal, and what limits are used up."""

from collections.abc import Callable
from typing import Any, Final

import msgspec

from trade_engine.domain.errors import EngineError
from trade_engine.edge.binance.refusals import Shown, show
from trade_engine.edge.limits import Verdict
from trade_engine.edge.problems import MethodNotAllowed, RateLimited
from trade_engine.edge.rest.call import Answer
from trade_engine.edge.rest.envelope import Headers, ShownFailure
from trade_engine.edge.settings import ORDERS, WEIGHT, LimitSettings

_encode: Callable[[Any], bytes] = msgspec.json.Encoder().encode
#: Seconds in which so many orders are counted as ``order_limit`` says.
ORDERS_S: Final = 10


def order_limit(limits: LimitSettings) -> int:
    """How many orders in ten seconds are never refused; 0: there is no limit."""
    return int(min(limits.orders.burst, limits.orders.rate_per_s * ORDERS_S))


class BinanceEnvelope:
    """Keeps ``rest.envelope.Envelope``."""

    def __init__(self, limits: LimitSettings, retry_after_s: int = 1) -> None:
        self._limits = limits
        self._retry_after = str(retry_after_s).encode()

    def success(self, answer: Answer, request_id: str) -> bytes:  # noqa: ARG002 - it is in a header
        """See ``Envelope``."""
        return _encode(answer.data)

    def failure(self, error: EngineError, request_id: str) -> ShownFailure:  # noqa: ARG002
        """See ``Envelope``."""
        shown = self._too_many(error) if isinstance(error, RateLimited) else show(error)
        headers: Headers = []
        if isinstance(error, RateLimited):
            headers.append((b"retry-after", str(max(1, round(error.wait_s + 0.5))).encode()))
        elif shown.status in (429, 503):
            headers.append((b"retry-after", self._retry_after))
        elif isinstance(error, MethodNotAllowed):
            headers.append((b"allow", ", ".join(error.details["allowed"]).encode()))
        elif shown.status == 413:
            headers.append((b"connection", b"close"))
        body: dict[str, Any] = {"code": shown.number, "msg": shown.text}
        if shown.more is not None:
            body["data"] = shown.more
        return ShownFailure(shown.status, _encode(body), headers)

    def limits(self, limit: str, verdict: Verdict) -> Headers:
        """See ``Envelope``."""
        used = str(verdict.limit - verdict.remaining).encode()
        if limit == WEIGHT:
            return [(b"x-mbx-used-weight", used), (b"x-mbx-used-weight-1m", used)]
        return [(b"x-mbx-order-count-10s", used)] if limit == ORDERS else []

    def _too_many(self, error: RateLimited) -> Shown:
        if error.limit == WEIGHT:
            most = self._limits.weight.burst
            return Shown(
                429,
                -1003,
                f"Too much request weight used; current limit is {most} request weight per 1 MINUTE. "
                "Please use WebSocket Streams for live updates to avoid polling the API.",
            )
        if error.limit == ORDERS:
            most = order_limit(self._limits)
            return Shown(429, -1015, f"Too many new orders; current limit is {most} orders per {ORDERS_S} SECOND.")
        return Shown(429, -1003, "Too many requests queued.")
