"""Where the engine may send requests that somebody else named: which URLs, and which addresses behind their names.

A name is looked up once, every address found is judged here, and the connection goes to one of those: a name that
answers otherwise a moment later (DNS rebinding) changes nothing.  An IPv4 address inside an IPv6 one counts as itself.
"""

import ipaddress
from collections.abc import Sequence
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from trade_engine.http.addresses import Address, read_address

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

URL_MAX: Final = 2_000
#: Public by number for some, and never a receiver's: where clouds tell machines who they are; Teredo, and NAT64 with a
#: prefix of the network's own, behind which another address stands.
_NEVER: Final = tuple(
    ipaddress.ip_network(text) for text in ("168.63.129.16", "192.0.0.0/24", "2001::/32", "64:ff9b:1::/48")
)


class Destination(NamedTuple):
    """A URL that may be called, as far as its text tells."""

    host: str
    port: int
    #: Without TLS: only to addresses that are listed.
    is_plain: bool


def read_destination(url: str, listed: Sequence[Network]) -> Destination:
    """The destination that a URL names.

    Args:
        url: as somebody wrote it.
        listed: networks that may be called although they are private; there without TLS as well.

    Raises:
        ValueError: it is none; the text says what is wrong.
    """
    if len(url) > URL_MAX or not (url.isascii() and url.isprintable()) or " " in url or "\\" in url:
        raise ValueError(f"a URL has at most {URL_MAX} printable ASCII characters, without spaces and backslashes")
    parts = urlsplit(url)
    if parts.scheme not in ("https", "http"):
        raise ValueError("a URL must begin with https://")
    if parts.username is not None or parts.password is not None or "@" in parts.netloc:
        raise ValueError("a URL must not have a user or password")
    if parts.fragment or "#" in url:
        raise ValueError("a URL must not have a fragment")
    try:
        port = parts.port
    except ValueError as error:
        raise ValueError("the port of a URL must be from 1 to 65535") from error
    if not parts.hostname or port == 0:
        raise ValueError("a URL must have a host, and a port from 1 to 65535 if any")
    is_plain = parts.scheme == "http"
    found = Destination(parts.hostname, port or (80 if is_plain else 443), is_plain)
    literal = _literal(found.host)
    if literal is not None:
        why = refusal_of(found.host, listed, is_plain=is_plain)
        if why is not None:
            raise ValueError(why)
    elif is_plain and not listed:
        raise ValueError("a URL must begin with https://; http:// is for listed private addresses only")
    return found


def refusal_of(address: str, listed: Sequence[Network], *, is_plain: bool) -> str | None:
    """Why an address must not be called; None: it may."""
    judged = _literal(address)
    if judged is None:
        return f"{address[:100]} is no address"
    if _is_in(judged, listed):
        return None
    if is_plain:
        return f"{judged} is not listed, and http:// is for listed addresses only"
    is_inner = not judged.is_global or judged.is_multicast or judged.is_reserved
    if is_inner or _is_in(judged, _NEVER):
        return f"{judged} is private, local or reserved, and not listed"
    return None


def _is_in(address: Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks if network.version == address.version)


def _literal(host: str) -> Address | None:
    """The address that a text is; without the zone of a link-local one."""
    return read_address(host.partition("%")[0])
