"""Messages to clients as WebSocket frames: encoded once, written to many."""

from collections.abc import Callable
from typing import Any, Final

import msgspec
from websockets.frames import Frame, Opcode

from trade_engine.domain.errors import EngineError
from trade_engine.edge.problems import describe

encode: Final[Callable[[Any], bytes]] = msgspec.json.Encoder().encode


def text_frame(content: bytes) -> bytes:
    """A text frame, as a server sends it (not masked)."""
    return Frame(Opcode.TEXT, content).serialize(mask=False)


def channel_frame(head: dict[str, Any], content: Any) -> bytes:
    """A channel's message: what it is about, then its data."""
    return text_frame(encode({**head, "data": content}))


def response_frame(op: str | None, command_id: str | int | None, content: Any) -> bytes:
    """The answer to a command that was carried out."""
    return text_frame(encode({"type": "response", "op": op, "id": command_id, "success": True, "data": content}))


def failure_frame(op: str | None, command_id: str | int | None, error: EngineError) -> bytes:
    """The answer to a command that was refused."""
    content = {"type": "response", "op": op, "id": command_id, "success": False, "error": describe(error)}
    return text_frame(encode(content))


def handshake_refusal(code: str, message: str) -> bytes:
    """The body of a handshake that is refused."""
    return encode({"success": False, "error": {"code": code, "message": message, "details": {}}})
