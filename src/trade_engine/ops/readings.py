"""What an engine's metrics read when Prometheus asks: queues, books, backlogs, connections.  Nothing here waits."""

from collections.abc import Iterator, Mapping
from typing import Final, Protocol

from trade_engine.domain.enums import Side
from trade_engine.domain.errors import Unavailable
from trade_engine.domain.scale import UNIT
from trade_engine.http.connections import Connections
from trade_engine.ops.metrics import Reading
from trade_engine.sequencer.engine import Engine
from trade_engine.sequencer.keeper import REBUILDS
from trade_engine.sequencer.public_market import PublicMarket
from trade_engine.settlement.worker import SettlementWorker

ENGINE_UP: Final = "1 while the engine takes orders."


class StreamCounts(Protocol):
    """What the WebSocket has handed out."""

    frames: int
    conflated: int
    slow_closed: int


def read_engine(engine: Engine) -> Iterator[Reading]:
    """The writer: whether it works, how much waits, where it is, and every book."""
    sequencer = engine.sequencer
    yield Reading("engine_up", ENGINE_UP, float(sequencer.obstacle is None))
    yield Reading("engine_queue_depth", "Requests that wait for the writer.", sequencer.waiting)
    yield Reading("engine_batch_size", "Commands of the last batch.", sequencer.last_batch)
    yield Reading("engine_pending_releases", "Reservations to give back with a commit.", len(sequencer.releases))
    yield Reading("engine_unknown_reserves", "Reserves of unknown outcome.", len(engine.unknown_reserves))
    yield Reading("engine_orphans", "Orphaned reservations found while running.", engine.sweep.found, counts=True)
    rebuilds = "Memory, or a book of it, built anew."
    for reason in REBUILDS:
        yield Reading("engine_rebuilds", rebuilds, sequencer.rebuilds[reason], ("reason", reason), counts=True)
    failures = "Listeners that failed to take a commit in."
    for name, count in engine.publisher.failures.items():
        yield Reading("engine_listener_failures", failures, count, ("listener", name), counts=True)
    yield Reading("engine_market_repairs", "Market data taken anew.", engine.reader.repairs, counts=True)
    try:
        memory = sequencer.memory
    except Unavailable:
        return
    yield Reading("engine_sequence", "The last command sequenced.", memory.sequence)
    yield Reading("engine_live_orders", "Orders that can still trade.", len(memory.live))
    yield from _books(engine.reader.views)


def _books(views: dict[int, PublicMarket]) -> Iterator[Reading]:
    for view in list(views.values()):
        label = ("symbol", view.market.symbol)
        bid, ask = view.depth.best(Side.BUY), view.depth.best(Side.SELL)
        levels = view.depth.count(Side.BUY) + view.depth.count(Side.SELL)
        yield Reading("order_book_levels", "Price levels of the book.", levels, label)
        if bid and ask:
            spread = (ask - bid) * view.market.tick_size / UNIT
            yield Reading("order_book_spread", "Best ask less best bid, in the quote asset.", spread, label)


def read_settlement(worker: SettlementWorker) -> Iterator[Reading]:
    """Settlement since the start, and what it has in hand."""
    counts = worker.counts
    yield Reading("settlement_settled", "Trades settled.", counts.settled, counts=True)
    yield Reading("settlement_released", "Reservations released.", counts.released, counts=True)
    yield Reading("settlement_retries", "Refusals by the wallet.", counts.refused, counts=True)
    yield Reading("settlement_failed", "Instructions that became dead letters.", counts.failed, counts=True)
    yield Reading("settlement_outages", "Calls that met a wallet or database away.", counts.outages, counts=True)


def read_partitions(default_rows: Mapping[str, int]) -> Iterator[Reading]:
    """What is not where it belongs, as of the last round of the task that keeps partitions ahead."""
    for table, rows in default_rows.items():
        yield Reading("engine_default_partition_rows", "Rows in a DEFAULT partition.", rows, ("table", table))


def read_connections(places: Connections) -> Iterator[Reading]:
    """The servers of the API: who is connected, and who got no place."""
    yield Reading("api_connections", "Connections that are open.", places.open)
    yield Reading("api_connections_refused", "Connections refused unread.", places.refused, counts=True)


def read_streams(connections: int, counts: StreamCounts) -> Iterator[Reading]:
    """The WebSocket: who is there, what they got, and what slow ones did not."""
    yield Reading("websocket_connections", "Connections that are open.", connections)
    yield Reading("websocket_messages", "Messages handed out.", counts.frames, counts=True)
    yield Reading("websocket_conflated", "Messages merged for slow readers.", counts.conflated, counts=True)
    yield Reading("websocket_dropped", "Connections closed for being slow.", counts.slow_closed, counts=True)
