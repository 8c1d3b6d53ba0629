"""Messages of this face as WebSocket frames: the bare event, or the event with the name of its stream."""

from typing import Any, Final

from trade_engine.edge.ws.messages import encode, text_frame

#: The hub's channels: how a stream's events come to their readers.
RAW: Final = "binance raw"
COMBINED: Final = "binance combined"


def event_frame(stream: str, event: Any, *, combined: bool) -> bytes:
    """One event of a stream."""
    content = encode(event)
    return text_frame(b'{"stream":' + encode(stream) + b',"data":' + content + b"}" if combined else content)


def answer_frame(answer: Any) -> bytes:
    """The answer to a request."""
    return text_frame(encode(answer))
