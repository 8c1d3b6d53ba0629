"""What the ports lead to: a notice while the engine stands by or starts, then the API, and a notice while it stops.

So that a process that only waits is seen to live, says why it is not ready, and answers every order with a 503.
"""

from typing import Final

import msgspec
from starlette.types import ASGIApp, Receive, Scope, Send

from trade_engine.domain.errors import Unavailable
from trade_engine.edge.rest.envelope import EngineEnvelope
from trade_engine.edge.rest.router import request_id_of
from trade_engine.edge.rest.system import AliveView, ReadyView

_LIVE: Final = frozenset(("/health", "/health/live"))
_READY: Final = frozenset(("/ready", "/health/ready"))
_UNKNOWN: Final = "not known yet"


class Entrance:
    """The application of all ports; ``app`` is what it leads to, once there is one.

    ``operators`` is what the operators' port leads to as long as ``app`` is there.
    """

    def __init__(self) -> None:
        self.app: ASGIApp | None = None
        self.operators: ASGIApp | None = None
        self._why = "starting"

    def show(self, why: str) -> None:
        """Say why there is none."""
        self._why = why

    def close(self, why: str) -> None:
        """Let nobody in any more, and say why; who is in goes on."""
        self.app = None
        self._why = why

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI)."""
        if self.app is not None:
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            await self._notice(scope, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1013})

    async def for_operators(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request at the operators' port (ASGI)."""
        await (self if self.app is None or self.operators is None else self.operators)(scope, receive, send)

    async def _notice(self, scope: Scope, send: Send) -> None:
        status, content = 503, b""
        if scope["method"] in ("GET", "HEAD") and scope["path"] in _LIVE:
            status, content = 200, msgspec.json.encode(AliveView("alive"))
        elif scope["method"] in ("GET", "HEAD") and scope["path"] in _READY:
            view = ReadyView("not ready", _UNKNOWN, self._why, _UNKNOWN, _UNKNOWN, _UNKNOWN)
            content = msgspec.json.encode(view)
        else:
            error = Unavailable("ENGINE_UNAVAILABLE", f"the engine is not ready: {self._why}")
            content = EngineEnvelope().failure(error, request_id_of(scope["headers"])).content
        headers = [
            (b"content-type", b"application/json"),
            (b"cache-control", b"no-store"),
            (b"content-length", str(len(content)).encode()),
            # The next request may be the API's: on a connection that knows of it, streams included.
            (b"connection", b"close"),
            *([(b"retry-after", b"1")] if status == 503 else []),
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else content})
