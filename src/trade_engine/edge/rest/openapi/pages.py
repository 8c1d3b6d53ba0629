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
from trade_engine.edge.rest.openapi.served import StaticPage, answer_page, static_page
from trade_engine.edge.rest.route import OPEN, Route
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


async def show(call: Call) -> Answer:
    """Show a page of the API's description."""
    # In a thread, for the first time takes long.
    return answer_page(call, await asyncio.to_thread(_page, call.request.url.path))


#: Beside the API's own routes, which they describe, and limited and logged like these.
PAGES: Final = tuple(Route(f"page {path}", "", "GET", path, show, OPEN, PUBLIC) for path in (_DESCRIPTION, *_FILES))


@cache
def _page(path: str) -> StaticPage:
    if path == _DESCRIPTION:
        content, kind = json.dumps(document(), separators=(",", ":")).encode(), "application/json"
    else:
        name, kind = _FILES[path]
        content = (_ASSETS / name).read_bytes()
    return static_page(content, kind)
