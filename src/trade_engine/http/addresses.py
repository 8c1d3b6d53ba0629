"""Whose address a connection counts by: the peer's, or the one a trusted proxy names; IPv6 by its /64.

An IPv4 address that is written inside an IPv6 one counts as itself.  A socket that listens on both sees every IPv4
caller as ``::ffff:a.b.c.d``, a translator (NAT64's well-known prefix) shows it as ``64:ff9b::a.b.c.d``: by their /64
all of them would count as one.  Behind a 6to4 address stands one IPv4 address, too; it would have 65,536 networks.
"""

import ipaddress
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final, cast

from starlette.types import Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from websockets.datastructures import Headers

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")


def read_address(text: str) -> Address | None:
    """The address of a text, an IPv4 one taken out of an IPv6 one; None if it is none."""
    try:
        parsed = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(parsed, ipaddress.IPv4Address):
        return parsed
    if parsed in _NAT64:
        return ipaddress.IPv4Address(int(parsed) & 0xFFFF_FFFF)
    return parsed.ipv4_mapped or parsed.sixtofour or parsed


@lru_cache(maxsize=10_000)
def network(address: str) -> str:
    """An IPv4 address, or the /64 an IPv6 one belongs to: what one caller is given."""
    parsed = read_address(address)
    if parsed is None:
        return address
    return str(parsed) if parsed.version == 4 else str(ipaddress.ip_network((int(parsed), 64), strict=False))


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
