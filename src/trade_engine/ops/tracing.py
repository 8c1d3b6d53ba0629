"""Traces of sampled requests, from the request to the settlement of its trades, over OTLP; off unless it is asked for.

Nothing is measured for a trace: what happened is put together afterwards, out of what the access log, the batch and
settlement tell anyway.  So a request that is not sampled costs nothing, and orders never wait for a collector.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import Span, SpanKind, set_span_in_context

from trade_engine.domain.ids import time_of
from trade_engine.domain.trace_context import TraceContext, trace_context
from trade_engine.ops.access import AccessLines
from trade_engine.sequencer.publish import CommittedBatch
from trade_engine.settlement.worker import MarkedTrade

#: Orders whose batch, trace or settlement is remembered; the oldest is forgotten when there are more.
_ORDERS_MAX: Final = 10_000
_TIMEOUT_S: Final = 3.0


class _Batch(NamedTuple):
    """What is known of the batch that an order was committed with; times in nanoseconds since 1970."""

    stamped_ns: int
    matched_ns: int
    committed_ns: int
    commit_ns: int
    commands: int


class _Ids(RandomIdGenerator):
    """Makes ids, but for the next trace and its first span if they are given."""

    def __init__(self) -> None:
        self.next: TraceContext | None = None

    def generate_trace_id(self) -> int:
        """The trace's id; asked for before its first span's."""
        return super().generate_trace_id() if self.next is None else self.next.trace_id

    def generate_span_id(self) -> int:
        """A span's id."""
        given, self.next = self.next, None
        return super().generate_span_id() if given is None else given.span_id


class Traces:
    """Makes spans, and hands them to a collector in the background.

    Args:
        endpoint: the collector's, as http://127.0.0.1:4318/v1/traces.
        ratio: the share of requests that is traced.
        chance: a number from 0 to 1.
        resource: what the process is: service.name and so on.
    """

    def __init__(self, endpoint: str, ratio: float, chance: Callable[[], float], resource: dict[str, str]) -> None:
        self._ratio = ratio
        self._chance = chance
        self._ids = _Ids()
        self._provider = TracerProvider(
            resource=Resource.create(dict(resource)), shutdown_on_exit=False, id_generator=self._ids
        )
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint, timeout=_TIMEOUT_S)))
        self._tracer = self._provider.get_tracer("trade_engine")
        self._access: AccessLines | None = None
        self._took_s = {"match": 0.0, "commit": 0.0}
        self._batches: OrderedDict[str, _Batch] = OrderedDict()
        self._roots: OrderedDict[str, Context] = OrderedDict()
        self._settled: OrderedDict[str, list[MarkedTrade]] = OrderedDict()

    def over(self, access: AccessLines | None) -> "Traces":
        """Stand before the access log, which goes on to be told."""
        self._access = access
        return self

    def close(self) -> None:
        """Hand over what is left; waits a few seconds at most."""
        self._provider.shutdown()

    # ---- what happens

    def timed(self, stage: str, seconds: float) -> None:
        """A stage of the batch under way took so long."""
        self._took_s[stage] = seconds

    def committed(self, batch: CommittedBatch) -> None:
        """A batch was committed: its orders are remembered until their requests are answered."""
        now_ns, took_s, stamped_ns = time.time_ns(), self._took_s, batch.time_us * 1000
        commands = batch.journal.last_sequence - batch.previous_sequence
        commit_ns = int(took_s["commit"] * 1e9)
        matched_ns = min(stamped_ns + int(took_s["match"] * 1e9), now_ns - commit_ns)
        found = _Batch(stamped_ns, matched_ns, now_ns, commit_ns, commands)
        for order in batch.orders:
            if order.sequence in batch.new:
                _remember(self._batches, order.order_id, found)

    def rebuilt(self) -> None:
        """Nothing: what was not told is not in a trace."""

    def settled(self, trades: Iterable[MarkedTrade]) -> None:
        """Trades were settled."""
        for marked in trades:
            for order_id in (marked.trade.buyer_order_id, marked.trade.seller_order_id):
                root = self._roots.get(order_id or "")
                if root is not None:
                    self._settlement(root, marked)
                elif order_id in self._batches:
                    known = self._settled.get(order_id, [])
                    _remember(self._settled, order_id, [*known, marked])

    def tell(self, line: dict[str, Any]) -> None:
        """A request was answered; a sampled one becomes a trace, and its line in the log names it."""
        order_id = line.get("order_id", "")
        batch = self._batches.pop(order_id, None)
        settled = self._settled.pop(order_id, ())
        # An order's events over RabbitMQ name its trace, so its id alone says which, and whether there is one.
        context = trace_context(order_id, self._ratio) if batch is not None else None
        if context.sampled if context is not None else self._chance() < self._ratio:
            self._ids.next = context
            root = self._request(line, batch)
            for marked in settled:
                self._settlement(root, marked)
        if self._access is not None:
            self._access.tell(line)

    # ---- spans

    def _request(self, line: dict[str, Any], batch: _Batch | None) -> Context:
        """The span of a request, and those of what its order went through."""
        end_ns = time.time_ns()
        start_ns = end_ns - int(line["ms"] * 1e6)
        span = self._tracer.start_span(
            f"{line['method']} {line['route']}", Context(), SpanKind.SERVER, start_time=start_ns
        )
        root = set_span_in_context(span, Context())
        for field, value in line.items():
            if value is not None:
                span.set_attribute(_ATTRIBUTES.get(field, field), value)
        line["trace_id"] = f"{span.get_span_context().trace_id:032x}"
        if batch is not None:
            self._stage(root, "admit and reserve", start_ns, batch.stamped_ns)
            self._stage(root, "match", batch.stamped_ns, batch.matched_ns, commands=batch.commands)
            self._stage(
                root, "commit", batch.committed_ns - batch.commit_ns, batch.committed_ns, commands=batch.commands
            )
            self._stage(root, "answer", batch.committed_ns, end_ns)
            _remember(self._roots, line["order_id"], root)
        span.end(end_ns)
        return root

    def _settlement(self, root: Context, marked: MarkedTrade) -> None:
        start_ns = time_of(marked.trade.trade_id) * 1_000_000
        self._stage(root, "settle", start_ns, marked.settled_us * 1000, trade_id=marked.trade.trade_id)

    def _stage(self, root: Context, name: str, start_ns: int, end_ns: int, **attributes: str | int) -> None:
        span: Span = self._tracer.start_span(name, root, start_time=start_ns, attributes=attributes)
        span.end(max(start_ns, end_ns))


#: What OpenTelemetry calls what the access log has.
_ATTRIBUTES: Final = {
    "method": "http.request.method", "route": "http.route", "path": "url.path", "status": "http.response.status_code",
    "address": "client.address", "user_id": "user.id",
}  # fmt: skip


def _remember(known: OrderedDict[str, Any], order_id: str, value: Any) -> None:
    known[order_id] = value
    if len(known) > _ORDERS_MAX:
        known.popitem(last=False)
