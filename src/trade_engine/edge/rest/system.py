"""Routes about the service itself: status, time, health."""

import time
from typing import Final, Literal

import msgspec

from trade_engine.edge.rest.call import Answer, Call
from trade_engine.edge.shapes import Time
from trade_engine.edge.times import show_time

#: What a connection in reserve may ask for.
PROBES: Final = frozenset(("/health", "/health/live", "/health/ready", "/ready"))


_PAGE: Final = "/trade"


class StatusView(msgspec.Struct):
    """Which service this is, and whether it works."""

    service: str
    version: str
    status: Literal["running", "degraded"]


class TimeView(msgspec.Struct):
    """The server's clock, as text and in milliseconds since 1970."""

    time: Time
    milliseconds: int


class WelcomeView(msgspec.Struct):
    """Which service this is, and where on this server the rest is."""

    service: str
    version: str
    api: str = "/api/v1"
    websocket: str = "/ws"
    reference: str = "/docs"
    description: str = "/openapi.json"
    health: str = "/health/ready"
    #: To trade on; null if there is none.
    page: str | None = None


class AliveView(msgspec.Struct):
    """The process answers."""

    status: Literal["alive"]


class ReadyView(msgspec.Struct):
    """Whether orders can be taken, and how each dependency is: ``ok``, or what is wrong."""

    status: Literal["ready", "not ready"]
    database: str
    engine: str
    wallet: str
    redis: str
    rabbitmq: str


async def status(call: Call) -> Answer:
    """Look up the status of the service.

    Which service this is, and whether it works.
    """
    settings = call.services.settings
    working = all(value == "ok" for value in call.services.operations.condition().values())
    return Answer(StatusView(settings.service, settings.version, "running" if working else "degraded"))


async def server_time(_: Call) -> Answer:
    """Look up the server's clock."""
    now_us = time.time_ns() // 1000
    return Answer(TimeView(show_time(now_us), now_us // 1000))


async def welcome(call: Call) -> Answer:
    """Look up where things are.

    Which service this is, and the paths on this server where the rest begins.  A browser (one that asks for
    text/html) is shown to the page to trade on, if there is one.
    """
    settings = call.services.settings
    view = WelcomeView(settings.service, settings.version, page=_PAGE if settings.pages else None)
    if settings.pages and "text/html" in call.request.headers.get("accept", ""):
        return Answer(view, 303, ((b"location", _PAGE.encode()), (b"vary", b"accept")), plain=True)
    return Answer(view, 200, ((b"vary", b"accept"),), plain=True)


async def live(_: Call) -> Answer:
    """Ask whether the process lives."""
    return Answer(AliveView("alive"), plain=True)


async def ready(call: Call) -> Answer:
    """Ask whether orders can be taken.

    200 if so, else 503; every dependency by name, as it was known within the last seconds: nothing is asked for this.
    """
    parts = {"database": "ok", "engine": "ok", "wallet": "ok"} | call.services.operations.condition()
    if parts["database"] == "ok":
        parts["database"] = call.services.database()
    wallet = call.services.wallet.condition()
    # One that has no condition of its own is as the database is.
    parts["wallet"] = parts["database"] if wallet is None else wallet
    is_ready = all(value == "ok" for value in parts.values())
    # Without Redis each process counts rate limits by itself, without RabbitMQ events wait: degraded, but ready.
    parts |= {"redis": call.services.redis(), "rabbitmq": call.services.rabbitmq()}
    view = ReadyView("ready" if is_ready else "not ready", **parts)
    return Answer(view, 200 if is_ready else 503, plain=True)
