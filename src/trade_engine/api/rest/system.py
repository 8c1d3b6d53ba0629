"""Routes about the service itself: status, time, health."""

import time

from trade_engine.api.call import Answer, Call
from trade_engine.api.times import show_time
from trade_engine.wallet.breaker import BreakerState
from trade_engine.wallet.http_client import HttpWallet


async def status(call: Call) -> Answer:
    """GET /status."""
    settings = call.services.settings
    working = all(value == "ok" for value in call.services.engine.condition().values())
    return Answer(
        {"service": settings.service, "version": settings.version, "status": "running" if working else "degraded"}
    )


async def server_time(call: Call) -> Answer:
    """GET /time."""
    call.parameters()
    now_us = time.time_ns() // 1000
    return Answer({"time": show_time(now_us), "milliseconds": now_us // 1000})


async def live(_: Call) -> Answer:
    """GET /health/live: the process answers."""
    return Answer({"status": "alive"}, plain=True)


async def ready(call: Call) -> Answer:
    """GET /health/ready: 200 if orders can be taken, else 503; every dependency by name."""
    parts = {"database": "ok", "engine": "ok", "wallet": "ok"} | call.services.engine.condition()
    if parts["database"] == "ok" and not await call.services.queries.answers():
        parts["database"] = parts["wallet"] = "does not answer"
    wallet = call.services.wallet
    if isinstance(wallet, HttpWallet):
        # Half open it is ready: only calls close it again.
        parts["wallet"] = "circuit open" if wallet.breaker.state is BreakerState.OPEN else "ok"
    is_ready = all(value == "ok" for value in parts.values())
    # Without Redis each process counts rate limits by itself: degraded, but ready.
    parts |= {"redis": call.services.limits.condition(), "rabbitmq": "not used"}
    return Answer({"status": "ready" if is_ready else "not ready", **parts}, 200 if is_ready else 503, plain=True)
