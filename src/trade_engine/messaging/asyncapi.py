"""The AsyncAPI 3.0 document of the events, made from their structs and from the topology, so that it says what is."""

from typing import Any, Final

import msgspec

from trade_engine.messaging.events import EVENTS, SCHEMA_VERSION
from trade_engine.messaging.frames import TRACE
from trade_engine.messaging.topology import DEAD_EXCHANGE, Topology

_REF: Final = "#/components/schemas/{name}"
_ABOUT: Final = (
    "What happened at an exchange, for other services. Delivered at least once, in order for each market; the same"
    " event always has the same message id. How to consume them: docs/developer/events.md."
)
_TRACE_SCHEMA: Final = {
    "type": "string",
    "pattern": "^00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]$",
    "description": "W3C trace context, if the engine traces: of the order, whose id is the trace's; of a trade, the"
    " taker's.",
}


def describe() -> dict[str, Any]:
    """The document as it is printed; exchange names as they are by default."""
    schemas, parts = msgspec.json.schema_components(EVENTS, ref_template=_REF)
    topology = Topology()
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    messages: dict[str, Any] = {}
    for kind, schema in zip(EVENTS, schemas, strict=True):
        name = kind.__name__
        event = str(kind.__struct_config__.tag)
        messages[name] = {
            "name": event,
            "title": (kind.__doc__ or "").splitlines()[0],
            "contentType": "application/json",
            "headers": {
                "type": "object",
                "properties": {
                    "schema_version": {"type": "integer", "const": SCHEMA_VERSION},
                    TRACE: dict(_TRACE_SCHEMA),
                },
                "required": ["schema_version"],
            },
            "bindings": {"amqp": {"messageType": event, "contentEncoding": "utf-8"}},
            "payload": schema,
        }
        channels[name] = {
            "address": f"{event}.{{market}}",
            "title": event,
            "parameters": {"market": {"description": "The symbol with a dash.", "examples": ["BTC-USDT"]}},
            "messages": {name: {"$ref": f"#/components/messages/{name}"}},
            "bindings": {
                "amqp": {
                    "is": "routingKey",
                    "exchange": {"name": topology.exchange_of(event), "type": "topic", "durable": True},
                }
            },
        }
        operations[f"send{name}"] = {"action": "send", "channel": {"$ref": f"#/channels/{name}"}}
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "Trade Engine events", "version": str(SCHEMA_VERSION), "description": _ABOUT},
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages, "schemas": parts},
        "x-queues": [
            {
                "name": queue.name,
                "arguments": queue.arguments,
                "bindings": [{"exchange": exchange, "key": key} for exchange, key in queue.bindings],
            }
            for queue in topology.queues()
        ],
        "x-dead-letter-exchange": DEAD_EXCHANGE,
    }
