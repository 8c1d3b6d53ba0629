"""The pages' paths: /trade, /console and, under /pages, the files that both are made of."""

import asyncio
from functools import cache
from pathlib import Path
from typing import Final

from trade_engine.edge.auth.tokens import ADMIN
from trade_engine.edge.rest.call import Answer, Call
from trade_engine.edge.rest.route import OPEN, Route
from trade_engine.edge.rest.static import StaticFile, answer_with, static_file
from trade_engine.edge.settings import PUBLIC, QUERIES

_ASSETS: Final = Path(__file__).parent / "assets"
#: No script or style but these files, nothing from elsewhere, no frames, and no text that becomes HTML.
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
_KINDS: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
#: What begins so belongs to the console, and is not served without it.
_CONSOLE: Final = "console"


def page_routes(*, trading: bool, console: bool) -> tuple[Route, ...]:
    """Routes of the pages that are wanted, and of their files."""
    if not (trading or console):
        return ()
    pages = {"/trade": "trade.html"} if trading else {}
    if console:
        pages["/console"] = "console.html"
    names = [path.name for path in sorted(_ASSETS.iterdir()) if path.suffix in _KINDS and path.suffix != ".html"]
    files = {f"/pages/{name}": name for name in names if console or not name.startswith(_CONSOLE)}
    shown = [Route(f"page {path}", "", "GET", path, _show, OPEN, PUBLIC) for path in (*pages, *files)]
    if console:
        shown.append(Route("page metrics", "", "GET", "/console/metrics", _metrics, ADMIN, QUERIES))
    return tuple(shown)


async def _show(call: Call) -> Answer:
    """Show a page, or a file of it."""
    path = call.request.url.path
    name = path.removeprefix("/pages/") if path.startswith("/pages/") else f"{path.removeprefix('/')}.html"
    # In a thread, for the first time takes long.
    return answer_with(await asyncio.to_thread(_file, name), call)


async def _metrics(call: Call) -> Answer:
    """Show the metrics to an operator, whose page makes rates of them."""
    headers = ((b"content-type", b"text/plain; charset=utf-8"), (b"cache-control", b"no-store"))
    return Answer(call.services.backoffice.metrics(), 200, headers, page=True)


@cache
def _file(name: str) -> StaticFile:
    path = _ASSETS / name
    return static_file(path.read_bytes(), _KINDS[path.suffix], _POLICY)
