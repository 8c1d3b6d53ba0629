"""Routes for operators (role admin): dead letters and reconciliation.  What changes something is audited, with why."""

from typing import Any

import msgspec

from trade_engine.api.call import Answer, Call, whole_number
from trade_engine.api.times import show_time
from trade_engine.domain.errors import InvalidRequest, Unavailable
from trade_engine.settlement.dead_letters import DeadLetter, audit
from trade_engine.settlement.reconciler import Reconciliation
from trade_engine.wallet.port import WalletUnavailable

_ID_MAX = 2**62


class ReasonBody(msgspec.Struct, forbid_unknown_fields=True):
    """Why an operator does it."""

    reason: str


class ReconcileBody(msgspec.Struct, forbid_unknown_fields=True):
    """Whether orphaned reservations shall be released; that needs a reason."""

    repair: bool = False
    reason: str = ""


async def list_dead_letters(call: Call) -> Answer:
    """GET /admin/dead-letters: oldest first; ``after`` is the id that the last page ended with."""
    parameters = call.parameters("after", "limit")
    limit = whole_number(parameters, "limit", 100, 1, 500)
    after = _number(parameters["after"], "after") if "after" in parameters else 0
    letters = await call.services.backoffice.dead_letters.page(after, limit)
    return Answer([_letter(letter) for letter in letters])


async def show_dead_letter(call: Call) -> Answer:
    """GET /admin/dead-letters/{id}."""
    call.parameters()
    return Answer(_letter(await call.services.backoffice.dead_letters.show(_number(call.path("id"), "id"))))


async def retry_dead_letter(call: Call) -> Answer:
    """POST /admin/dead-letters/{id}/retry."""
    number, body = _number(call.path("id"), "id"), _read(call, ReasonBody)
    await call.services.backoffice.dead_letters.retry(number, call.user_id, body.reason)
    return Answer({"id": number, "status": "RETRY"})


async def resolve_dead_letter(call: Call) -> Answer:
    """POST /admin/dead-letters/{id}/resolve."""
    number, body = _number(call.path("id"), "id"), _read(call, ReasonBody)
    await call.services.backoffice.dead_letters.resolve(number, call.user_id, body.reason)
    return Answer({"id": number, "status": "RESOLVED"})


async def last_reconciliation(call: Call) -> Answer:
    """GET /admin/reconciliation: the latest outcome; null before the first."""
    call.parameters()
    last = call.services.backoffice.reconciler.last
    return Answer(None if last is None else _reconciliation(last))


async def reconcile(call: Call) -> Answer:
    """POST /admin/reconciliation: do it now."""
    body = _read(call, ReconcileBody)
    office = call.services.backoffice
    if body.repair:
        await audit(office.pool, call.user_id, "reconciliation.repair", "reservations", body.reason, "asked for")
    try:
        return Answer(_reconciliation(await office.reconciler.run(repair=body.repair)))
    except WalletUnavailable as error:
        raise Unavailable("WALLET_UNAVAILABLE", "the wallet does not answer") from error


def _read(call: Call, kind: type[Any]) -> Any:
    try:
        return msgspec.json.decode(call.body or b"{}", type=kind)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidRequest("INVALID_BODY", str(error), field="body") from error


def _number(text: str, field: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 19 and 0 < int(text) < _ID_MAX):
        raise InvalidRequest("INVALID_PARAMETER", f"{field} must be a whole number", field=field, provided=text[:100])
    return int(text)


def _letter(letter: DeadLetter) -> dict[str, Any]:
    shown: dict[str, Any] = msgspec.structs.asdict(letter)
    shown["id"] = shown.pop("instruction_id")
    shown["created_at"] = show_time(shown.pop("created_us"))
    return shown


def _reconciliation(outcome: Reconciliation) -> dict[str, Any]:
    return {
        "started_at": show_time(outcome.started_us),
        "took_ms": outcome.took_us // 1000,
        "differences": [difference._asdict() for difference in outcome.differences],
        "released": outcome.released,
    }
