"""A real browser for tests: the machine's Chromium, driven by Playwright, and what its pages did that they must not."""

import asyncio
import os
import shutil
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

from playwright.async_api import Browser, BrowserContext, Page, async_playwright

NAMES: Final = ("chromium", "chromium-browser", "google-chrome")
_FLAGS: Final = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
_SERVERS: Final = (
    "ERR_CONNECTION",
    "with a status of 400",
    "with a status of 403",
    "with a status of 503",
    "Error during WebSocket handshake",
)
_AXE: Final = Path(sys.prefix) / "node" / "node_modules" / "axe-core" / "axe.min.js"
#: Longer than anything here takes on a machine that is busy.
BOUND_S: Final = 20.0
#: Whatever the page's policy forbade, remembered before the page's own scripts run.
_WATCH: Final = """
window.forbidden = [];
addEventListener("securitypolicyviolation", (event) => {
  forbidden.push(`${event.violatedDirective}: ${event.blockedURI} ${event.sample}`);
});
"""


class BrowserMissing(Exception):
    """There is no browser, or nothing to judge its pages with."""


def program() -> str:
    """The browser's executable.

    Raises:
        BrowserMissing: there is none.
    """
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        raise BrowserMissing("no Chromium (Debian package chromium)")
    return found


def axe() -> str:
    """The script that finds what keeps people out.

    Raises:
        BrowserMissing: it is not installed.
    """
    if not _AXE.is_file():
        raise BrowserMissing("no axe-core (npm, by `make install-dev`)")
    return _AXE.read_text(encoding="utf-8")


def in_ci() -> bool:
    """Whether what is missing fails a test rather than skips it."""
    return os.environ.get("CI") == "true"


@asynccontextmanager
async def browser() -> AsyncIterator[Browser]:
    """A browser with a profile of its own, which is thrown away."""
    async with async_playwright() as playwright:
        opened = await playwright.chromium.launch(executable_path=program(), args=list(_FLAGS))
        try:
            yield opened
        finally:
            await opened.close()


class Watched:
    """A page, and every complaint about it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        page.set_default_timeout(BOUND_S * 1e3)
        page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        page.on("console", self._heard)

    def _heard(self, message: Any) -> None:
        # That a server is away, or refuses, is told here too, and is no fault of the page.
        if message.type == "error" and not any(words in message.text for words in _SERVERS):
            self.complaints.append(message.text)

    async def require_clean(self) -> None:
        """Nothing went wrong in it, and it asked for nothing that its policy forbids."""
        assert await self.page.evaluate("window.forbidden") == []
        assert self.complaints == []

    async def text(self, selector: str) -> str:
        """What an element shows."""
        return (await self.page.inner_text(selector)).strip()

    async def until(self, condition: str, argument: Any = None) -> None:
        """Wait until an expression of the page is true."""
        end_s = time.monotonic() + BOUND_S
        while not await self.page.evaluate(condition, argument):
            if time.monotonic() > end_s:
                shown = await self.page.inner_text("body")
                raise AssertionError(f"{condition} {argument}: {self.complaints}\n{shown}")
            await asyncio.sleep(0.05)

    async def shows(self, selector: str, words: str) -> None:
        """Wait until an element shows these words."""
        await self.until("([at, words]) => document.querySelector(at)?.innerText.includes(words)", [selector, words])

    async def barriers(self) -> list[str]:
        """What axe-core finds that keeps people out: serious and critical."""
        await self.page.evaluate(axe())
        found = await self.page.evaluate("axe.run({resultTypes: ['violations']})")
        return [
            f"{each['id']} ({each['impact']}): {node['target']} {node.get('failureSummary', '')[:300]}"
            for each in found["violations"]
            if each["impact"] in ("serious", "critical")
            for node in each["nodes"]
        ]


@asynccontextmanager
async def opened(
    among: Browser, url: str, width: int = 1440, height: int = 900, *, dark: bool = False, patched: Any = None
) -> AsyncIterator[Watched]:
    """A page of a visitor of its own, without complaints at the end.

    Args:
        among: the browser.
        url: what is opened.
        width: of the window, pixels.
        height: of the window, pixels.
        dark: what the visitor prefers.
        patched: given the visitor before anything is asked for.
    """
    visitor: BrowserContext = await among.new_context(
        viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light", reduced_motion="reduce"
    )
    await visitor.add_init_script(_WATCH)
    if patched is not None:
        await patched(visitor)
    watched = Watched(await visitor.new_page())
    try:
        await watched.page.goto(url)
        yield watched
        await watched.require_clean()
    finally:
        await visitor.close()
