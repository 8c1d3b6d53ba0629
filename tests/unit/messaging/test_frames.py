"""The frames that are made in one piece are those that pamqp makes."""

from datetime import UTC, datetime

import pamqp.frame
import pytest
from pamqp import commands
from pamqp.body import ContentBody
from pamqp.common import FieldTable
from pamqp.header import ContentHeader

from trade_engine.domain.trace_context import trace_context
from trade_engine.messaging.frames import APP_ID, CONTENT_TYPE, HEADERS, PERSISTENT, TRACE, frames_of
from trade_engine.messaging.telling import EventMessage


def by_library(message: EventMessage, exchange: str, channel: int, frame_max: int) -> bytes:
    publish = commands.Basic.Publish(exchange=exchange, routing_key=message.routing_key, mandatory=True)
    headers: FieldTable = HEADERS if message.traceparent is None else HEADERS | {TRACE: message.traceparent}
    properties = commands.Basic.Properties(
        message_id=message.message_id, message_type=message.type, content_type=CONTENT_TYPE, delivery_mode=PERSISTENT,
        timestamp=datetime.fromtimestamp(message.time_s, UTC), headers=headers, app_id=APP_ID,
    )  # fmt: skip
    header = ContentHeader(properties=properties, body_size=len(message.body))
    room = frame_max - 8
    parts = [message.body[at : at + room] for at in range(0, len(message.body), room)]
    return b"".join(
        (
            pamqp.frame.marshal(publish, channel), pamqp.frame.marshal(header, channel),
            *(pamqp.frame.marshal(ContentBody(part), channel) for part in parts),
        )
    )  # fmt: skip


@pytest.mark.parametrize("trace", [None, trace_context("0192f0c1-2b3c-7d4e-8f50-61728394a5b6", 1).traceparent])
@pytest.mark.parametrize("size", [2, 700, 4088, 4089, 20_000])
@pytest.mark.parametrize("kind", ["trade.executed", "order.partially_filled"])
def test_the_bytes_are_the_library_s(kind: str, size: int, trace: str | None) -> None:
    message = EventMessage(
        "0192f0c1-2b3c-7d4e-8f50-61728394a5b6-12-5",
        kind,
        f"{kind}.BTC-USDT",
        1_767_225_600,
        b"x" * size,
        12,
        5,
        trace,
    )
    assert frames_of(message, "trade.events", 7, 4096) == by_library(message, "trade.events", 7, 4096)
