"""What `trade-engine status` makes of two looks at an engine: rates, latencies and what it says of itself."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec
from prometheus_client.parser import text_string_to_metric_families

_LATENCIES: Final = {
    "order": "order_placement_duration_seconds",
    "commit": "commit_duration_seconds",
    "settlement": "settlement_duration_seconds",
    "request": "http_request_duration_seconds",
    "wallet": "wallet_call_duration_seconds",
}
_PARTS: Final = ("database", "engine", "wallet", "redis", "rabbitmq")

#: Values of one metric by its labels.
Series = dict[tuple[tuple[str, str], ...], float]


class Quantiles(msgspec.Struct, frozen=True):
    """Of a latency in milliseconds: no more than so much for that share; None: nothing happened."""

    p50: float | None
    p99: float | None


class Sample(msgspec.Struct, frozen=True):
    """One look."""

    at_s: float
    metrics: Mapping[str, Series]
    ready: bool
    parts: Mapping[str, str]

    def total(self, name: str, **labels: str) -> float | None:
        """The sum of a metric's values, of those with some labels; None: there are none."""
        wanted = set(labels.items())
        found = [value for key, value in self.metrics.get(name, {}).items() if wanted <= set(key)]
        return sum(found) if found else None


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """How an engine is."""

    ready: bool
    role: str
    epoch: int | None
    sequence: int | None
    orders_per_s: float
    trades_per_s: float
    requests_per_s: float
    errors_per_s: float
    live_orders: int | None
    queue: int | None
    admission_waiting: int | None
    settlement_pending: int | None
    settlement_lag_s: float | None
    dead_letters: int | None
    relay_lag_s: float | None
    default_partition_rows: int | None
    connections: int | None
    event_loop_lag_ms: float | None
    latencies_ms: dict[str, Quantiles]
    dependencies: dict[str, str]


def read_sample(at_s: float, text: str, ready: Mapping[str, object]) -> Sample:
    """A look, from what ``/metrics`` and ``/health/ready`` answer.

    Raises:
        ValueError: that is no engine's.
    """
    metrics: dict[str, Series] = defaultdict(dict)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            metrics[sample.name][tuple(sorted(sample.labels.items()))] = sample.value
    if "engine_role" not in metrics:
        raise ValueError("it has no metric engine_role")
    parts = {name: str(ready.get(name, "unknown")) for name in _PARTS}
    return Sample(at_s, metrics, ready.get("status") == "ready", parts)


def status_between(before: Sample, after: Sample) -> Status:
    """How the engine is at the later look; rates and latencies are those since the earlier one."""

    def rate(name: str, **labels: str) -> float:
        grown = (after.total(name, **labels) or 0) - (before.total(name, **labels) or 0)
        return max(0.0, grown) / max(after.at_s - before.at_s, 1e-9)

    def now(name: str) -> int | None:
        found = after.total(name)
        return None if found is None else round(found)

    lag_s = after.total("event_loop_lag_seconds")
    roles = [dict(key)["role"] for key, value in after.metrics["engine_role"].items() if value]
    statuses = {dict(key)["status"] for key in after.metrics.get("http_requests_total", {})}
    return Status(
        ready=after.ready,
        role=roles[0] if roles else "unknown",
        epoch=now("engine_epoch"),
        sequence=now("engine_sequence"),
        orders_per_s=rate("orders_placed_total"),
        trades_per_s=rate("trades_executed_total"),
        requests_per_s=rate("http_requests_total"),
        errors_per_s=sum(rate("http_requests_total", status=status) for status in statuses if status.startswith("5")),
        live_orders=now("engine_live_orders"),
        queue=now("engine_queue_depth"),
        admission_waiting=now("engine_admission_waiting"),
        settlement_pending=now("settlement_pending"),
        settlement_lag_s=after.total("settlement_lag_seconds"),
        dead_letters=now("settlement_dead_letters"),
        relay_lag_s=after.total("relay_lag_seconds"),
        default_partition_rows=now("engine_default_partition_rows"),
        connections=now("api_connections"),
        event_loop_lag_ms=None if lag_s is None else lag_s * 1e3,
        latencies_ms={what: _latency(name, before, after) for what, name in _LATENCIES.items()},
        dependencies=dict(after.parts),
    )


def _latency(name: str, before: Sample, after: Sample) -> Quantiles:
    earlier, buckets = before.metrics.get(f"{name}_bucket", {}), defaultdict[float, float](float)
    for key, count in after.metrics.get(f"{name}_bucket", {}).items():
        buckets[float(dict(key)["le"])] += count - earlier.get(key, 0.0)
    ordered = sorted(buckets.items())
    return Quantiles(_quantile(0.5, ordered), _quantile(0.99, ordered))


def _quantile(share: float, buckets: Iterable[tuple[float, float]]) -> float | None:
    """The quantile in milliseconds, spread evenly over its bucket, as PromQL's ``histogram_quantile`` does."""
    ordered = list(buckets)
    if not ordered or ordered[-1][1] <= 0:
        return None
    rank, low, below = share * ordered[-1][1], 0.0, 0.0
    for bound, count in ordered:
        if count >= rank:
            if bound == float("inf"):
                return round(low * 1e3, 3)
            return round((low + (bound - low) * (rank - below) / max(count - below, 1e-9)) * 1e3, 3)
        low, below = bound, count
    return None
