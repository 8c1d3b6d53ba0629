"""Wiring of traces, if the configuration wants any; without them nothing of OpenTelemetry is even imported."""

from __future__ import annotations

import asyncio
import contextlib
import platform
import random
from collections.abc import Callable
from typing import TYPE_CHECKING

from trade_engine import __version__
from trade_engine.config import Config

if TYPE_CHECKING:
    from trade_engine.ops.tracing import Traces

Timed = Callable[[str, float], None]


def start_traces(config: Config, stack: contextlib.AsyncExitStack) -> Traces | None:
    """What makes traces; handed over to the end when ``stack`` ends."""
    options = config.monitoring
    if not options.jaeger_enabled:
        return None
    from trade_engine.ops.tracing import Traces

    resource = {
        "service.name": "trade-engine",
        "service.version": __version__,
        "service.instance.id": platform.node() or "unknown",
        "deployment.environment.name": config.environment,
    }
    traces = Traces(options.jaeger_endpoint, options.trace_ratio, random.random, resource)
    stack.push_async_callback(asyncio.to_thread, traces.close)
    return traces


def timed_by(metrics: Timed, traces: Traces | None) -> Timed:
    """Whoever wants to know how long a stage took."""
    if traces is None:
        return metrics

    def both(stage: str, seconds: float) -> None:
        metrics(stage, seconds)
        traces.timed(stage, seconds)

    return both
