"""Routes for operators (role admin): dead letters, reconciliation, verification.  Changes are audited, with why."""

from typing import Literal

import msgspec

from trade_engine.domain.errors import InvalidRequest, Unavailable
from trade_engine.edge.backoffice import Verified
from trade_engine.edge.bodies import decode
from trade_engine.edge.rest.call import Answer, Call, whole_number
from trade_engine.edge.shapes import Amount, Asset, Id, ReasonText, Time
from trade_engine.edge.times import show_time
from trade_engine.settlement.dead_letters import DeadLetter, audit
from trade_engine.settlement.reconciler import Reconciliation
from trade_engine.wallet.port import WalletUnavailable

_ID_MAX = 2**62


class ReasonBody(msgspec.Struct, forbid_unknown_fields=True):
    """Why an operator does it."""

    reason: ReasonText


class ReconcileBody(msgspec.Struct, forbid_unknown_fields=True):
    """Whether orphaned reservations shall be released; that needs a reason."""

    repair: bool = False
    #: Only looked at with ``repair``.
    reason: str = ""


class DeadLetterView(msgspec.Struct):
    """A movement of money that the wallet refused for good."""

    id: int
    kind: str
    trade_id: Id | None
    order_id: Id | None
    user_id: Id | None
    asset: Asset | None
    amount: Amount | None
    reason: str
    attempts: int
    last_reason: str | None
    created_at: Time


class DeadLetterOutcome(msgspec.Struct):
    """What became of a dead letter."""

    id: int
    status: Literal["RETRY", "RESOLVED"]


class DifferenceView(msgspec.Struct):
    """Where two books that must agree do not."""

    check: str
    subject: str
    asset: str
    left: str
    right: str


class ReconciliationView(msgspec.Struct):
    """The outcome of one reconciliation; ``released`` are orders whose orphaned reservations were released."""

    started_at: Time
    took_ms: int
    differences: list[DifferenceView]
    released: list[str]


class VerificationView(msgspec.Struct):
    """A verification under way, or what came of it; ``ok`` is null and ``failure`` says why, if nothing did."""

    started_at: Time
    ended_at: Time | None
    running: bool
    ok: bool | None
    journal_batches: int
    journal_head: str
    differences: list[str]
    failure: str | None


_reason_decoder = msgspec.json.Decoder(ReasonBody)
_reconcile_decoder = msgspec.json.Decoder(ReconcileBody)


async def list_dead_letters(call: Call) -> Answer:
    """List the dead letters.

    Movements of money that the wallet refused for good, oldest first; ``after`` is the id that the last page
    ended with.
    """
    parameters = call.query
    limit = whole_number(parameters, "limit", 100, 1, 500)
    after = whole_number(parameters, "after", 0, 1, _ID_MAX - 1)
    letters = await call.services.backoffice.dead_letters.page(after, limit)
    return Answer([_letter(letter) for letter in letters])


async def show_dead_letter(call: Call) -> Answer:
    """Look up a dead letter."""
    return Answer(_letter(await call.services.backoffice.dead_letters.show(_number(call.path("id"), "id"))))


async def retry_dead_letter(call: Call) -> Answer:
    """Retry a dead letter.

    It is tried again at once.  Audited.
    """
    number, body = _number(call.path("id"), "id"), decode(_reason_decoder, call.body)
    await call.services.backoffice.dead_letters.retry(number, call.user_id, body.reason)
    return Answer(DeadLetterOutcome(number, "RETRY"))


async def resolve_dead_letter(call: Call) -> Answer:
    """Give up on a dead letter.

    For good; reserved funds go back to their owners.  Audited.
    """
    number, body = _number(call.path("id"), "id"), decode(_reason_decoder, call.body)
    await call.services.backoffice.dead_letters.resolve(number, call.user_id, body.reason)
    return Answer(DeadLetterOutcome(number, "RESOLVED"))


async def last_reconciliation(call: Call) -> Answer:
    """Look up the latest reconciliation.

    Null before the first.
    """
    last = call.services.backoffice.reconciler.last
    return Answer(None if last is None else _reconciliation(last))


async def reconcile(call: Call) -> Answer:
    """Reconcile with the wallet now.

    With ``repair``, orphaned reservations are released, which is audited.
    """
    body = decode(_reconcile_decoder, call.body)
    office = call.services.backoffice
    if body.repair:
        await audit(office.pool, call.user_id, "reconciliation.repair", "reservations", body.reason, "asked for")
    try:
        return Answer(_reconciliation(await office.reconciler.run(repair=body.repair)))
    except WalletUnavailable as error:
        raise Unavailable("WALLET_UNAVAILABLE", "the wallet does not answer") from error


async def last_verification(call: Call) -> Answer:
    """Look up the latest verification.

    The one under way, or the latest since the engine started; null before the first.
    """
    last = call.services.backoffice.verifier.last
    return Answer(None if last is None else _verification(last))


async def start_verification(call: Call) -> Answer:
    """Verify the database.

    Begins what `trade-engine verify` does, in a process of its own beside the engine, unless one is under way; the
    outcome is told by GET.  Audited.
    """
    body = decode(_reason_decoder, call.body)
    await audit(call.services.backoffice.pool, call.user_id, "verify", "database", body.reason, "asked for")
    return Answer(_verification(call.services.backoffice.verifier.start()))


def _verification(run: Verified) -> VerificationView:
    return VerificationView(
        started_at=show_time(run.started_us),
        ended_at=None if run.ended_us is None else show_time(run.ended_us),
        running=run.running,
        ok=run.ok,
        journal_batches=run.journal_batches,
        journal_head=run.journal_head,
        differences=run.differences,
        failure=run.failure,
    )


def _number(text: str, field: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 19 and 0 < int(text) < _ID_MAX):
        raise InvalidRequest("INVALID_PARAMETER", f"{field} must be a whole number", field=field, provided=text[:100])
    return int(text)


def _letter(letter: DeadLetter) -> DeadLetterView:
    return DeadLetterView(
        id=letter.instruction_id,
        kind=letter.kind,
        trade_id=letter.trade_id,
        order_id=letter.order_id,
        user_id=letter.user_id,
        asset=letter.asset,
        amount=letter.amount,
        reason=letter.reason,
        attempts=letter.attempts,
        last_reason=letter.last_reason,
        created_at=show_time(letter.created_us),
    )


def _reconciliation(outcome: Reconciliation) -> ReconciliationView:
    return ReconciliationView(
        started_at=show_time(outcome.started_us),
        took_ms=outcome.took_us // 1000,
        differences=[DifferenceView(*difference) for difference in outcome.differences],
        released=outcome.released,
    )
