"""Serves the description at /openapi.json and the page that shows it at /docs: fixed bytes, read and encoded once.

The page needs nothing from elsewhere, and its policy forbids it to ask.
"""

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

from starlette.types import ASGIApp, Receive, Scope, Send

from trade_engine.api.openapi.document import document

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


class Page(NamedTuple):
    """A page's bytes and headers."""

    content: bytes
    tag: bytes
    headers: tuple[tuple[bytes, bytes], ...]


class Described:
    """An application, with its description beside it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with a page, or let the application answer (ASGI)."""
        path = scope["path"] if scope["type"] == "http" and scope["method"] in ("GET", "HEAD") else ""
        if path != _DESCRIPTION and path not in _FILES:
            await self._app(scope, receive, send)
            return
        page = _page(path)
        known = next((value for name, value in scope["headers"] if name == b"if-none-match"), b"")
        fresh = page.tag in known
        content = b"" if fresh else page.content
        length = () if fresh else ((b"content-length", str(len(content)).encode()),)
        await send(
            {"type": "http.response.start", "status": 304 if fresh else 200, "headers": [*page.headers, *length]}
        )
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else content})


@cache
def _page(path: str) -> Page:
    if path == _DESCRIPTION:
        content, kind = json.dumps(document(), separators=(",", ":")).encode(), "application/json"
    else:
        name, kind = _FILES[path]
        content = (_ASSETS / name).read_bytes()
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'.encode()
    # Always asked for again, and then answered with 304: a new version of the server shows at once.
    headers = (
        (b"content-type", kind.encode()),
        (b"etag", tag),
        (b"cache-control", b"public, no-cache"),
        (b"content-security-policy", _POLICY.encode()),
        (b"x-content-type-options", b"nosniff"),
        (b"x-frame-options", b"DENY"),
        (b"referrer-policy", b"no-referrer"),
    )
    return Page(content, tag, headers)
