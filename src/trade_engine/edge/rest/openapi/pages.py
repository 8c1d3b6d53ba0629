"""Serves the description at /openapi.json and the page that shows it at /docs: fixed bytes, read and encoded once.

The page needs nothing from elsewhere, and its policy forbids it to ask.
"""

import asyncio
import json
from functools import cache
from pathlib import Path
from typing import Final

from trade_engine.edge.rest.call import Answer, Call
from trade_engine.edge.rest.openapi.document import document
from trade_engine.edge.rest.route import OPEN, Route
from trade_engine.edge.rest.static import StaticFile, answer_with, static_file
from trade_engine.edge.settings import PUBLIC

_ASSETS: Final = Path(__file__).parent / "assets"
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
#: Its styles are set by its script as well, hence inline ones; scripts only ever come as files.
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


async def show(call: Call) -> Answer:
    """Show a page of the API's description."""
    # In a thread, for the first time takes long.
    return answer_with(await asyncio.to_thread(_page, call.request.url.path), call)


#: Beside the API's own routes, which they describe, and limited and logged like these.
PAGES: Final = tuple(Route(f"page {path}", "", "GET", path, show, OPEN, PUBLIC) for path in (_DESCRIPTION, *_FILES))


@cache
def _page(path: str) -> StaticFile:
    if path == _DESCRIPTION:
        return static_file(json.dumps(document(), separators=(",", ":")).encode(), "application/json", _POLICY)
    name, kind = _FILES[path]
    return static_file((_ASSETS / name).read_bytes(), kind, _POLICY)
