"""Routes for webhook endpoints (role admin): where events are sent.  A secret is shown once, when it is made.

Whatever changes something is audited, with why.
"""

from typing import Annotated

import msgspec

from trade_engine.domain.errors import NotFound
from trade_engine.edge.bodies import decode
from trade_engine.edge.rest.audited import audited
from trade_engine.edge.rest.call import Answer, Call, whole_number
from trade_engine.edge.shapes import EndpointId, ReasonText, Symbol, Time, text
from trade_engine.edge.times import show_time, show_time_or_none
from trade_engine.http.destinations import URL_MAX
from trade_engine.storage.webhooks import (
    ENDPOINT_ID,
    FILTERS_MAX,
    OVERLAP_H,
    OVERLAP_H_MAX,
    DeadWebhook,
    WebhookEndpoint,
    WebhookStore,
)

_DELIVERY_MAX = 2**62
_URL = text("https?://.+", "https://hooks.example.com/trades", maxLength=URL_MAX)
_NAME = text(r"[^\u0000-\u001f\u007f-\u00a0]*", "back office", minLength=1, maxLength=100)
Url = Annotated[str, msgspec.Meta(extra_json_schema=_URL)]
EndpointName = Annotated[str, msgspec.Meta(extra_json_schema=_NAME)]
EventType = Annotated[str, msgspec.Meta(extra_json_schema=text(r"(trade|order)\.[a-z_]{1,40}", "trade.executed"))]
EventTypes = Annotated[list[EventType], msgspec.Meta(extra_json_schema={"maxItems": FILTERS_MAX})]
Symbols = Annotated[list[Symbol], msgspec.Meta(extra_json_schema={"maxItems": FILTERS_MAX})]
Hours = Annotated[int, msgspec.Meta(extra_json_schema={"minimum": 0, "maximum": OVERLAP_H_MAX})]
DeliveryId = Annotated[int, msgspec.Meta(extra_json_schema={"minimum": 1, "maximum": _DELIVERY_MAX - 1})]


class WebhookBody(msgspec.Struct, forbid_unknown_fields=True):
    """Where events are to be sent, and which; no types or symbols: all."""

    url: Url
    name: EndpointName
    reason: ReasonText
    event_types: EventTypes = []
    symbols: Symbols = []


class WebhookReason(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /admin/webhooks/{endpoint_id}/pause and /resume: why."""

    reason: ReasonText


class RotateBody(msgspec.Struct, forbid_unknown_fields=True):
    """Why an endpoint gets another secret, and for how long the old one signs, too."""

    reason: ReasonText
    overlap_hours: Hours = OVERLAP_H


class ReplayBody(msgspec.Struct, forbid_unknown_fields=True):
    """Why dead letters are sent again; one of them, or all."""

    reason: ReasonText
    delivery_id: DeliveryId | None = None


class WebhookView(msgspec.Struct):
    """An endpoint as answers show it: never its secret."""

    endpoint_id: EndpointId
    name: str
    url: Url
    event_types: EventTypes
    symbols: Symbols
    created_at: Time
    #: Until then the secret before signs, too.
    previous_secret_until: Time | None
    paused_at: Time | None
    paused_why: str | None
    #: Events that its full queue had no room for.
    dropped: int


class NewWebhookView(msgspec.Struct):
    """An endpoint, and its secret for the only time."""

    endpoint: WebhookView
    secret: str


class DeadWebhookView(msgspec.Struct):
    """An event that the endpoint would not take."""

    delivery_id: int
    event_id: str
    event: str
    symbol: Symbol
    attempts: int
    last_outcome: str | None
    queued_at: Time
    died_at: Time
    body: str


class ReplayedView(msgspec.Struct):
    """How many dead letters are sent again."""

    replayed: int


_decoder = msgspec.json.Decoder(WebhookBody)
_reason_decoder = msgspec.json.Decoder(WebhookReason)
_rotate_decoder = msgspec.json.Decoder(RotateBody)
_replay_decoder = msgspec.json.Decoder(ReplayBody)


async def list_webhooks(call: Call) -> Answer:
    """List the webhook endpoints.

    Oldest first, without their secrets.
    """
    return Answer([show_webhook(endpoint) for endpoint in await _store(call).every()])


async def add_webhook(call: Call) -> Answer:
    """Register a webhook endpoint.

    Its secret is shown this once only.  It is sent what happens from now on.  Audited.
    """
    store, body = _store(call), decode(_decoder, call.body)
    store.check(body.url, body.name, body.event_types, body.symbols)
    async with audited(call, "webhook.add", body.url[:200], body.reason):
        endpoint, secret = await store.add(body.url, body.name, body.event_types, body.symbols)
    return Answer(NewWebhookView(show_webhook(endpoint), secret), status=201)


async def pause_webhook(call: Call) -> Answer:
    """Pause a webhook endpoint.

    It is sent nothing more; what comes waits for it, as much as its queue holds.  Audited.
    """
    endpoint_id, reason = _endpoint_id(call), decode(_reason_decoder, call.body).reason
    async with audited(call, "webhook.pause", endpoint_id, reason):
        return Answer(show_webhook(await _store(call).pause(endpoint_id, reason)))


async def resume_webhook(call: Call) -> Answer:
    """Resume a webhook endpoint.

    It is sent what waits, oldest first.  Audited.
    """
    endpoint_id, reason = _endpoint_id(call), decode(_reason_decoder, call.body).reason
    async with audited(call, "webhook.resume", endpoint_id, reason):
        return Answer(show_webhook(await _store(call).resume(endpoint_id)))


async def rotate_webhook(call: Call) -> Answer:
    """Rotate the secret of a webhook endpoint.

    The new one is shown this once only.  For some hours webhooks have two signatures, with the old secret and the new.
    Audited.
    """
    endpoint_id, body = _endpoint_id(call), decode(_rotate_decoder, call.body)
    async with audited(call, "webhook.rotate", endpoint_id, body.reason):
        endpoint, secret = await _store(call).rotate(endpoint_id, body.overlap_hours)
    return Answer(NewWebhookView(show_webhook(endpoint), secret))


async def remove_webhook(call: Call) -> Answer:
    """Remove a webhook endpoint.

    What waits for it and its dead letters are forgotten.  Audited.
    """
    endpoint_id, reason = _endpoint_id(call), call.query.get("reason", "")
    async with audited(call, "webhook.remove", endpoint_id, reason):
        return Answer(show_webhook(await _store(call).remove(endpoint_id)))


async def list_dead_webhooks(call: Call) -> Answer:
    """List the dead letters of a webhook endpoint.

    Oldest first; ``after`` is the ``delivery_id`` that the last page ended with.
    """
    parameters, endpoint_id = call.query, _endpoint_id(call)
    limit = whole_number(parameters, "limit", 100, 1, 500)
    after = whole_number(parameters, "after", 0, 1, _DELIVERY_MAX - 1)
    return Answer([show_dead(letter) for letter in await _store(call).dead(endpoint_id, after, limit)])


async def replay_webhooks(call: Call) -> Answer:
    """Replay dead letters of a webhook endpoint.

    One or all, with all their tries, late as they are; a paused endpoint gets them when it is resumed.  Audited.
    """
    endpoint_id, body = _endpoint_id(call), decode(_replay_decoder, call.body)
    if body.delivery_id is not None and not 0 < body.delivery_id < _DELIVERY_MAX:
        raise NotFound("DEAD_LETTER_NOT_FOUND", "the endpoint has no such dead letter", field="delivery_id")
    async with audited(call, "webhook.replay", endpoint_id, body.reason):
        return Answer(ReplayedView(await _store(call).replay(endpoint_id, body.delivery_id)))


def show_webhook(endpoint: WebhookEndpoint) -> WebhookView:
    """An endpoint without its secret."""
    return WebhookView(
        endpoint_id=endpoint.endpoint_id,
        name=endpoint.name,
        url=endpoint.url,
        event_types=sorted(endpoint.event_types),
        symbols=sorted(endpoint.symbols),
        created_at=show_time(endpoint.created_us),
        previous_secret_until=show_time_or_none(endpoint.previous_until_us or 0),
        paused_at=show_time_or_none(endpoint.paused_us or 0),
        paused_why=endpoint.paused_why,
        dropped=endpoint.dropped,
    )


def show_dead(letter: DeadWebhook) -> DeadWebhookView:
    """A dead letter."""
    return DeadWebhookView(
        delivery_id=letter.delivery_id,
        event_id=letter.message_id,
        event=letter.event_type,
        symbol=letter.symbol,
        attempts=letter.attempts,
        last_outcome=letter.last_outcome,
        queued_at=show_time(letter.queued_us),
        died_at=show_time(letter.ended_us),
        body=letter.body,
    )


def _endpoint_id(call: Call) -> str:
    given = call.path("endpoint_id")
    # What cannot be an id is not asked for: PostgreSQL's text has no NUL.
    if not ENDPOINT_ID.fullmatch(given):
        raise NotFound(
            "WEBHOOK_NOT_FOUND", "there is no such webhook endpoint", field="endpoint_id", provided=given[:100]
        )
    return given


def _store(call: Call) -> WebhookStore:
    return call.services.backoffice.webhooks
