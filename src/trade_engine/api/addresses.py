"""Whose address a connection counts by: the peer's, or the one a trusted proxy names; IPv6 by its /64."""

import ipaddress
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, cast

from starlette.types import Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from websockets.datastructures import Headers


@lru_cache(maxsize=10_000)
def network(address: str) -> str:
    """An IPv4 address, or the /64 an IPv6 one belongs to: what one caller is given."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    return address if parsed.version == 4 else str(ipaddress.ip_network((address, 64), strict=False))


class ClientAddress:
    """Tells a client's address from its peer and the headers it sent, as uvicorn does for HTTP."""

    def __init__(self, trusted_proxies: Sequence[str]) -> None:
        self._proxies = (
            ProxyHeadersMiddleware(cast("Any", _nothing), list(trusted_proxies)) if trusted_proxies else None
        )

    def __call__(self, peer: Any, headers: Headers) -> str:
        """The address as it is (``network`` tells what it counts as); ``unknown`` if there is none (a unix socket)."""
        if not peer or not isinstance(peer, tuple):
            return "unknown"
        if self._proxies is None:
            return str(peer[0])
        raw = [
            (name.lower().encode("latin-1"), value.encode("latin-1", "replace")) for name, value in headers.raw_items()
        ]
        scope: Scope = {"type": "websocket", "client": peer, "scheme": "ws", "headers": raw}
        # It reads the headers into the scope at once and then calls an application that does nothing.
        running = self._proxies(cast("Any", scope), cast("Any", _nothing), cast("Any", _nothing))
        try:
            running.send(None)
        except StopIteration:
            return str(scope["client"][0])
        raise RuntimeError("reading proxy headers must not wait")


async def _nothing(scope: Scope, receive: Receive, send: Send) -> None:
    """The application behind the proxy headers."""
