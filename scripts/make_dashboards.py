"""Make Grafana's dashboards (``deploy/grafana/dashboards``) out of what they show; a test holds the files equal to it.

Each panel is a title, what it plots (PromQL and a legend), and a unit.
"""

import json
import sys
from pathlib import Path
from typing import Any, Final, NamedTuple

FOLDER: Final = Path(__file__).resolve().parent.parent / "deploy" / "grafana" / "dashboards"
_WIDTH: Final = 8
_HEIGHT: Final = 8


class Panel(NamedTuple):
    """One plot."""

    title: str
    #: PromQL and its legend.
    plots: tuple[tuple[str, str], ...]
    unit: str = "short"


def _quantiles(metric: str, by: str = "") -> tuple[tuple[str, str], ...]:
    labels, legend = (f"le, {by}", f" {{{{{by}}}}}") if by else ("le", "")
    return tuple(
        (
            f"histogram_quantile({q}, sum by ({labels}) (rate({metric}_bucket[$__rate_interval])))",
            f"p{round(q * 100)}{legend}",
        )
        for q in ((0.5, 0.99) if not by else (0.99,))
    )


def _rate(metric: str, by: str, where: str = "") -> tuple[str, str]:
    return f"sum by ({by}) (rate({metric}{where}[$__rate_interval]))", f"{{{{{by}}}}}"


def _total(metric: str, legend: str, where: str = "") -> tuple[str, str]:
    return f"sum(rate({metric}{where}[$__rate_interval]))", legend


_UP: Final = Panel(
    "Engines that take orders", (("sum(engine_up)", "taking orders"), ('count(up{job="trade-engine"})', "all"))
)
_ORDERS: Final = Panel(
    "Orders and trades a second",
    (_total("orders_placed_total", "placed"), _total("trades_executed_total", "trades"),
     _total("orders_ended_total", "rejected", '{status="REJECTED"}')),
    "ops",
)  # fmt: skip
_PLACEMENT: Final = Panel("Order latency", _quantiles("order_placement_duration_seconds"), "s")
_HTTP: Final = Panel("Requests a second by status", (_rate("http_requests_total", "status"),), "reqps")
_LAG: Final = Panel(
    "Settlement: waits, and for how long",
    (("max(settlement_pending)", "instructions"), ("max(settlement_lag_seconds)", "oldest, seconds")),
)
_LETTERS: Final = Panel("Dead letters", (("max(settlement_dead_letters)", "dead letters"),))
_DEPENDENCIES: Final = Panel(
    "Dependencies (1 is up)",
    (("min(database_up)", "database"), ("min(redis_up)", "Redis"), ("min(rabbitmq_up)", "RabbitMQ"),
     ("1 - max(wallet_circuit_open)", "wallet")),
)  # fmt: skip

DASHBOARDS: Final[dict[str, tuple[str, tuple[Panel, ...]]]] = {
    "overview": (
        "Trade Engine: overview",
        (_UP, _ORDERS, _PLACEMENT, _HTTP, _LAG, _LETTERS, _DEPENDENCIES,
         Panel("Processor", (("sum by (instance) (rate(process_cpu_seconds_total[$__rate_interval]))", "{{instance}}"),), "percentunit"),
         Panel("Alerts that fire", (('sum by (alertname) (ALERTS{alertstate="firing"})', "{{alertname}}"),))),
    ),
    "system-health": (
        "Trade Engine: system health",
        (_UP,
         Panel("Role", (("max by (instance, role) (engine_role) == 1", "{{instance}} {{role}}"),)),
         Panel("Epoch: up by one at each take-over", (("max(engine_epoch)", "epoch"),)),
         _DEPENDENCIES,
         Panel("Processor", (("sum by (instance) (rate(process_cpu_seconds_total[$__rate_interval]))", "{{instance}}"),), "percentunit"),
         Panel("Memory", (("process_resident_memory_bytes", "{{instance}}"),), "bytes"),
         Panel("Event loop: how late", (("event_loop_lag_seconds", "{{instance}}"),), "s"),
         Panel("Stalls and restarts of tasks",
               (("sum by (instance) (increase(event_loop_stalls_total[$__rate_interval]))", "stalls {{instance}}"),
                ("sum by (task) (increase(engine_task_restarts_total[$__rate_interval]))", "{{task}}"))),
         Panel("Files and sockets", (("process_open_fds", "{{instance}}"), ("process_max_fds", "most {{instance}}"))),
         Panel("Tasks", (("running_tasks", "{{instance}}"),)),
         Panel("Garbage collections a second",
               (("sum by (generation) (rate(python_gc_collections_total[$__rate_interval]))", "{{generation}}"),), "ops"),
         Panel("Memory built anew, by reason", (("sum by (reason) (increase(engine_rebuilds_total[$__rate_interval]))", "{{reason}}"),))),
    ),
    "trading": (
        "Trade Engine: trading",
        (_ORDERS,
         Panel("Orders a second by market", (_rate("orders_placed_total", "symbol"),), "ops"),
         Panel("Orders a second by type", (_rate("orders_placed_total", "type"),), "ops"),
         Panel("Trades a second by market", (_rate("trades_executed_total", "symbol"),), "ops"),
         Panel("Turnover a second, in quote", (_rate("trade_volume_total", "symbol"),)),
         Panel("Spread", (("max by (symbol) (order_book_spread)", "{{symbol}}"),)),
         Panel("Depth of 20 levels", (("max by (symbol, side) (order_book_depth)", "{{symbol}} {{side}}"),)),
         Panel("Price levels", (("max by (symbol) (order_book_levels)", "{{symbol}}"),)),
         Panel("Orders that can trade", (("max(engine_live_orders)", "orders"),)),
         Panel("WebSocket connections", (("sum(websocket_connections)", "connections"),)),
         Panel("WebSocket messages a second",
               (_total("websocket_messages_total", "handed out"), _total("websocket_conflated_total", "merged")), "ops"),
         Panel("WebSocket readers dropped", (("sum(increase(websocket_dropped_total[$__rate_interval]))", "dropped"),))),
    ),
    "orders": (
        "Trade Engine: order funnel and latency",
        (Panel("The funnel a second",
               (_total("http_requests_total", "requests", '{method="POST", route="/api/v1/orders"}'),
                _total("orders_placed_total", "placed"), _total("orders_matched_total", "filled, in part at least"),
                _total("orders_ended_total", "filled", '{status="FILLED"}'),
                _total("orders_ended_total", "cancelled", '{status="CANCELLED"}'),
                _total("orders_ended_total", "rejected", '{status="REJECTED"}'),
                _total("orders_ended_total", "expired", '{status="EXPIRED"}')), "ops"),
         _PLACEMENT,
         Panel("Order latency by market, p99", _quantiles("order_placement_duration_seconds", "symbol"), "s"),
         Panel("Reserving funds", (
             ('histogram_quantile(0.99, sum by (le) (rate(wallet_call_duration_seconds_bucket{operation="reserve"}[$__rate_interval])))', "p99"),
             ('histogram_quantile(0.5, sum by (le) (rate(wallet_call_duration_seconds_bucket{operation="reserve"}[$__rate_interval])))', "p50")), "s"),
         Panel("Matching a batch", _quantiles("matching_duration_seconds"), "s"),
         Panel("Committing a batch", _quantiles("commit_duration_seconds"), "s"),
         Panel("Commands of a batch", _quantiles("engine_batch_commands")),
         Panel("Waiting", (("max(engine_queue_depth)", "for the writer"), ("max(engine_admission_waiting)", "for admission"))),
         Panel("Commands of the last batch", (("max(engine_batch_size)", "commands"),)),
         _HTTP,
         Panel("Request latency by route, p99", _quantiles("http_request_duration_seconds", "route"), "s"),
         Panel("Refused for too many requests", (_total("http_requests_total", "429", '{status="429"}'),), "reqps")),
    ),
    "settlement": (
        "Trade Engine: settlement and wallet",
        (_LAG, _LETTERS,
         Panel("Settled and released a second",
               (_total("settlement_settled_total", "settled"), _total("settlement_released_total", "released")), "ops"),
         Panel("From trade to settlement", _quantiles("settlement_duration_seconds"), "s"),
         Panel("Refused by the wallet, and outages",
               (("sum(increase(settlement_retries_total[$__rate_interval]))", "refused"),
                ("sum(increase(settlement_failed_total[$__rate_interval]))", "failed for good"),
                ("sum(increase(settlement_outages_total[$__rate_interval]))", "outages"))),
         Panel("Calls of the wallet a second", (_rate("wallet_calls_total", "operation"),), "ops"),
         Panel("Calls that went wrong", (_rate("wallet_calls_total", "outcome", '{outcome!="ok"}'),), "ops"),
         Panel("Calls of the wallet, p99", _quantiles("wallet_call_duration_seconds", "operation"), "s"),
         Panel("Circuit breaker", (("max by (state) (wallet_breaker_state)", "{{state}}"),
                                   ("sum(increase(wallet_breaker_opened_total[$__rate_interval]))", "opened"))),
         Panel("Funds of failed requests",
               (("max(engine_unknown_reserves)", "outcome unknown"), ("max(engine_pending_releases)", "to be given back"),
                ("sum(increase(engine_orphans_total[$__rate_interval]))", "found by the sweep"))),
         Panel("Events: how late", (("max(relay_lag_seconds)", "seconds"),), "s"),
         Panel("Messages that wait", (("max by (queue) (rabbitmq_queue_messages)", "{{queue}}"),))),
    ),
    "database": (
        "Trade Engine: database",
        (Panel("The database answers", (("min by (instance) (database_up)", "{{instance}}"),)),
         Panel("Committing a batch", _quantiles("commit_duration_seconds"), "s"),
         Panel("Commits a second", (_total("commit_duration_seconds_count", "batches"),), "ops"),
         Panel("Connections in use", (("sum by (pool) (database_pool_in_use)", "{{pool}}"),)),
         Panel("Connections open", (("sum by (pool) (database_pool_connections)", "{{pool}}"),)),
         Panel("Share of the pool in use", (("database_pool_in_use / database_pool_max", "{{pool}}"),), "percentunit"),
         Panel("Calls of the wallet in this database, p99", _quantiles("wallet_call_duration_seconds", "operation"), "s"),
         Panel("Rows without a partition of their own", (("max by (table) (engine_default_partition_rows)", "{{table}}"),)),
         Panel("Memory built anew, by reason", (("sum by (reason) (increase(engine_rebuilds_total[$__rate_interval]))", "{{reason}}"),))),
    ),
}  # fmt: skip


def dashboard(name: str) -> dict[str, Any]:
    """One dashboard, as Grafana has it."""
    title, panels = DASHBOARDS[name]
    return {
        "uid": f"trade-engine-{name}",
        "title": title,
        "tags": ["trade-engine"],
        "schemaVersion": 38,
        "version": 1,
        "editable": False,
        "refresh": "15s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "utc",
        "links": [{"type": "dashboards", "tags": ["trade-engine"], "title": "Trade Engine", "asDropdown": True}],
        "panels": [_panel(number, panel) for number, panel in enumerate(panels)],
    }


def _panel(number: int, panel: Panel) -> dict[str, Any]:
    source = {"type": "prometheus", "uid": "prometheus"}
    return {
        "id": number + 1,
        "type": "timeseries",
        "title": panel.title,
        "datasource": source,
        "gridPos": {"x": number % 3 * _WIDTH, "y": number // 3 * _HEIGHT, "w": _WIDTH, "h": _HEIGHT},
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": [
            {"refId": chr(ord("A") + index), "datasource": source, "expr": expression, "legendFormat": legend}
            for index, (expression, legend) in enumerate(panel.plots)
        ],
    }


def text_of(name: str) -> str:
    """A dashboard's file."""
    return json.dumps(dashboard(name), indent=1) + "\n"


if __name__ == "__main__":
    for each in DASHBOARDS:
        (FOLDER / f"trade-engine-{each}.json").write_text(text_of(each), encoding="utf-8")
        sys.stdout.write(f"{each}: {len(DASHBOARDS[each][1])} panels\n")
