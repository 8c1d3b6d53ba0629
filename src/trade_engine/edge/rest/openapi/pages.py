"""Serves the description at /openapi.json and the page that shows it at /docs: fixed bytes, read and encoded once.

The page needs nothing from elsewhere, and its policy forbids it to ask.
"""

import asyncio
import gzip
import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

from trade_engine.edge.rest.call import Answer, Call
from trade_engine.edge.rest.openapi.document import document
from trade_engine.edge.rest.route import OPEN, Route
from trade_engine.edge.settings import PUBLIC

_ASSETS: Final = Path(__file__).parent / "assets"
#: Its styles are set by its script as well, hence inline ones; scripts only ever come as files.
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_FILES: Final = {
    "/docs": ("index.html", "text/html; charset=utf-8"),
    "/docs/docs.js": ("docs.js", "text/javascript; charset=utf-8"),
    "/docs/swagger-ui-bundle.js": ("swagger-ui-bundle.js", "text/javascript; charset=utf-8"),
    "/docs/swagger-ui.css": ("swagger-ui.css", "text/css; charset=utf-8"),
    "/docs/favicon.png": ("favicon.png", "image/png"),
    "/docs/LICENSE": ("LICENSE", "text/plain; charset=utf-8"),
    "/docs/NOTICE": ("NOTICE", "text/plain; charset=utf-8"),
}
_DESCRIPTION: Final = "/openapi.json"
#: Smaller pages are not worth compressing.
_COMPRESSED_FROM: Final = 1_000


class StaticPage(NamedTuple):
    """A page's bytes, the same ones compressed if that is worth it, and its headers."""

    content: bytes
    compressed: bytes | None
    tag: str
    headers: tuple[tuple[bytes, bytes], ...]


async def show(call: Call) -> Answer:
    """Show a page of the API's description."""
    # In a thread, for the first time takes long.
    page = await asyncio.to_thread(_page, call.request.url.path)
    known = call.request.headers.get("if-none-match", "")
    if page.tag in known or known.strip() == "*":
        return Answer(b"", 304, page.headers, page=True)
    if page.compressed is not None and _takes_gzip(call.request.headers.get("accept-encoding", "")):
        return Answer(page.compressed, 200, (*page.headers, (b"content-encoding", b"gzip")), page=True)
    return Answer(page.content, 200, page.headers, page=True)


#: Beside the API's own routes, which they describe, and limited and logged like these.
PAGES: Final = tuple(Route(f"page {path}", "", "GET", path, show, OPEN, PUBLIC) for path in (_DESCRIPTION, *_FILES))


def _takes_gzip(accepted: str) -> bool:
    for part in accepted.lower().split(","):
        coding, _, weight = part.replace(" ", "").partition(";q=")
        if coding == "gzip":
            return weight.strip("0.") != "" or not weight
    return False


@cache
def _page(path: str) -> StaticPage:
    if path == _DESCRIPTION:
        content, kind = json.dumps(document(), separators=(",", ":")).encode(), "application/json"
    else:
        name, kind = _FILES[path]
        content = (_ASSETS / name).read_bytes()
    packed = len(content) >= _COMPRESSED_FROM
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    # Always asked for again, and then answered with 304: a new version of the server shows at once.
    headers = (
        (b"content-type", kind.encode()),
        # Weak: it is the same, compressed or not.
        (b"etag", b"W/" + tag.encode()),
        (b"vary", b"accept-encoding"),
        (b"cache-control", b"public, no-cache"),
        (b"content-security-policy", _POLICY.encode()),
    )
    return StaticPage(content, gzip.compress(content, 6, mtime=0) if packed else None, tag, headers)
