"""Where a server is, in any way that people write it."""

from typing import Final
from urllib.parse import urlsplit

_API: Final = "/api/v1"


def server_address(url: str) -> str:
    """``http://HOST:PORT`` of an address with or without scheme, ``/api/v1`` or a slash at its end.

    Raises:
        ValueError: it names no host, or another scheme than http and https.
    """
    given = url.strip()
    text = given if "://" in given else f"http://{given}"
    text = text.rstrip("/").removesuffix(_API).rstrip("/")
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https"):
        raise ValueError(f"{url!r}: the scheme must be http or https; the stream finds its own address")
    if not parts.hostname or parts.query or parts.fragment:
        raise ValueError(f"{url!r} is no address of a server: write http://HOST:PORT")
    _ = parts.port
    return text
