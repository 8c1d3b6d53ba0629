"""How one call becomes tries: when to repeat, when to wait, when to give up, and what that means.

Written once for both clients, as a generator without I/O: it asks for a ``Try`` or a ``Pause`` and is told what came
of it.  A repeat must never do something twice.  So only what reads, or leaves things the same when it is done again,
is repeated after a try that may have been carried out; everything is repeated after one that surely was not.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Final, TypeVar

import msgspec

from .calls import ApiCall, Effect
from .errors import (
    ApiError,
    ClientError,
    OutcomeUnknown,
    Problem,
    ProtocolError,
    RateLimited,
    TransportError,
    Unavailable,
    api_error,
)

T = TypeVar("T")

_UNKNOWN: Final = frozenset(("OUTCOME_UNKNOWN", "INTERNAL_ERROR"))
#: Answers of proxies that give up on the server behind them.
_GATEWAY: Final = frozenset((502, 503, 504))
_LEAST_TIMEOUT_S: Final = 0.05


@dataclass(frozen=True)
class Retry:
    """How long to go on.

    Args:
        deadline_s: after so long nothing is tried again, and the try under way is cut short; 0 tries once.
        timeout_s: how long one try may wait for the connection, and for each part of the answer.
        first_pause_s: the first pause; each is twice the one before, less a random part up to its half.
        longest_pause_s: no pause is longer, unless the server asks for it.
    """

    deadline_s: float = 30.0
    timeout_s: float = 10.0
    first_pause_s: float = 0.1
    longest_pause_s: float = 5.0


@dataclass(frozen=True)
class Try:
    """Send the request and wait so long for the answer."""

    timeout_s: float


@dataclass(frozen=True)
class Pause:
    """Wait."""

    seconds: float


@dataclass(frozen=True)
class Reply:
    """An answer came."""

    status: int
    retry_after: str | None
    body: bytes


@dataclass(frozen=True)
class Lost:
    """No answer came; ``sent`` unless the request surely never left."""

    reason: str
    sent: bool


Answered = Reply | Lost | None


class _Meta(msgspec.Struct):
    request_id: str | None = None
    next_cursor: str | None = None


class _Envelope(msgspec.Struct):
    success: bool
    data: msgspec.Raw = msgspec.Raw(b"null")
    error: Problem | None = None
    meta: _Meta = msgspec.field(default_factory=_Meta)


_envelope: Final = msgspec.json.Decoder(_Envelope)


@dataclass(frozen=True)
class _Failure:
    """A try that gave no result."""

    error: ClientError
    #: It may have been carried out.
    perhaps_done: bool
    #: Another one may fare better.
    passing: bool


def carry_out(
    call: ApiCall[T], retry: Retry, now: Callable[[], float], dice: Callable[[], float]
) -> Generator[Try | Pause, Answered, T]:
    """The tries and pauses of one call; returns its result.

    ``now`` gives seconds, ``dice`` a number from 0 to 1.

    Raises:
        ClientError: as its module draws it.
    """
    until = now() + retry.deadline_s
    pause_s = retry.first_pause_s
    perhaps_done = False
    while True:
        left_s = until - now() if retry.deadline_s else retry.timeout_s
        answered = yield Try(min(retry.timeout_s, max(left_s, _LEAST_TIMEOUT_S)))
        result = _judge(call, answered)
        wait_s = pause_s * (1 - dice() / 2)
        if isinstance(result, _Failure):
            error = result.error
            perhaps_done = perhaps_done or result.perhaps_done
            if isinstance(error, ApiError) and error.retry_after is not None:
                wait_s += error.retry_after
            may_repeat = result.passing and not (perhaps_done and call.effect is Effect.ONCE)
            if not may_repeat or now() + wait_s >= until:
                raise _last_word(call, error, perhaps_done=perhaps_done)
        elif call.unsettled is None or not call.unsettled(result) or now() + wait_s >= until:
            return result
        yield Pause(wait_s)
        pause_s = min(pause_s * 2, retry.longest_pause_s)


def _judge(call: ApiCall[T], answered: Answered) -> T | _Failure:
    if not isinstance(answered, Reply):
        lost = answered or Lost("nothing was tried", sent=False)
        return _Failure(TransportError(lost.reason), perhaps_done=lost.sent, passing=True)
    try:
        envelope = _envelope.decode(answered.body)
        if envelope.success:
            return call.read(envelope.data, envelope.meta.next_cursor)
        if envelope.error is None:
            raise msgspec.ValidationError("a failure without an error")
    except (msgspec.DecodeError, UnicodeDecodeError) as reason:
        error = ProtocolError(f"HTTP {answered.status} with what is no answer of this API: {reason}")
        refused = 300 <= answered.status < 500
        return _Failure(error, perhaps_done=not refused, passing=answered.status in _GATEWAY)
    wait_s = _seconds(answered.retry_after, envelope.error)
    refusal = api_error(envelope.error, answered.status, envelope.meta.request_id, wait_s)
    unknown = refusal.code in _UNKNOWN or (refusal.status >= 500 and not isinstance(refusal, Unavailable))
    return _Failure(refusal, perhaps_done=unknown, passing=isinstance(refusal, RateLimited | Unavailable))


def _last_word(call: ApiCall[T], error: ClientError, *, perhaps_done: bool) -> ClientError:
    """The error to raise: a refusal of the last try says nothing of an earlier one that may have been carried out.

    Only a refusal that the engine gives after it has looked for the client_order_id does.
    """
    told = isinstance(error, ApiError) and (error.status == 422 or error.code == "INSUFFICIENT_BALANCE")
    if call.effect is Effect.READS or not perhaps_done or (told and call.client_order_ids):
        return error
    unknown = OutcomeUnknown(f"{call.method} {call.path} may have been carried out: {error}", call.client_order_ids)
    unknown.__cause__ = error
    return unknown


def _seconds(header: str | None, problem: Problem) -> float | None:
    """How long the server wants us to wait: by its header, else, as over a WebSocket, by the error itself."""
    if header is not None and header.isascii() and header.isdigit() and len(header) < 10:
        return float(header)
    wait_ms = problem.details.get("retry_after_ms")
    return wait_ms / 1000 if isinstance(wait_ms, int) and wait_ms >= 0 else None
