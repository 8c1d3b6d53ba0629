"""The pages as files: who is led to them, what comes with them, and what a port for operators alone has."""

import asyncio
import re
from collections.abc import AsyncIterator
from importlib import resources
from pathlib import Path
from typing import Final

import httpx
import pytest

from tests.e2e.conftest import engine_config
from trade_engine.edge.auth.tokens import ADMIN
from trade_engine.roles.all import TradeEngine

ASSETS: Final = resources.files("trade_engine.edge.pages") / "assets"
FORBIDDEN: Final = re.compile(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|Storage|cookie")
APART: Final = {"pages.console": True, "server.admin_port": 0}


@pytest.fixture
async def running(database_url: str, tmp_path: Path) -> AsyncIterator[TradeEngine]:
    """An engine with both pages, and a port for operators."""
    engine = TradeEngine(engine_config(database_url, APART), tmp_path)
    await engine.start()
    try:
        yield engine
    finally:
        await engine.stop()
        await asyncio.sleep(0)


def links(page: str) -> set[str]:
    """What a page or a module asks for."""
    return set(re.findall(r'(?:src|href)="(/pages/[^"]+)"', page)) | {
        f"/pages/{name}" for name in re.findall(r'from "\./([^"]+)"', page)
    }


async def test_browsers_are_led_to_the_page_and_operators_have_a_port(running: TradeEngine) -> None:
    public, apart = (f"http://127.0.0.1:{server.port}" for server in (running.api, running.administration))
    token = {"Authorization": f"Bearer {running.issue_token('92e16396-2def-5821-8627-f843995bd1f3', (ADMIN,))}"}
    async with httpx.AsyncClient(timeout=30) as http:
        as_browser = await http.get(public, headers={"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"})
        assert (as_browser.status_code, as_browser.headers["location"]) == (303, "/trade")
        as_program = await http.get(public)
        assert (as_program.status_code, as_program.json()["page"]) == (200, "/trade")
        assert as_browser.headers["vary"] == as_program.headers["vary"] == "accept"
        for path in ("/console", "/console/metrics", "/pages/console.js", "/api/v1/admin/engine"):
            answers = [await http.get(at + path, headers=token) for at in (public, apart)]
            assert [answer.status_code for answer in answers] == [404, 200], path
        for path in ("/trade", "/api/v1/orders", "/api/v1/balances", "/api/v3/time"):
            assert (await http.get(apart + path, headers=token)).status_code == 404, path
        for path in ("/console/metrics", "/api/v1/admin/engine"):
            assert (await http.get(apart + path)).status_code == 401, path
        assert (await http.get(f"{apart}/health/ready")).status_code == 200
        for at, page in ((public, "/trade"), (apart, "/console")):
            wanted, seen = {page}, set[str]()
            while wanted - seen:
                path = min(wanted - seen)
                seen.add(path)
                answer = await http.get(at + path)
                assert answer.status_code == 200, path
                policy = answer.headers["content-security-policy"]
                assert "script-src 'self';" in policy
                assert "unsafe" not in policy
                assert answer.headers["x-content-type-options"] == "nosniff"
                again = await http.get(at + path, headers={"If-None-Match": answer.headers["etag"]})
                assert (again.status_code, again.content) == (304, b""), path
                if not path.endswith((".mjs", ".svg")):
                    wanted |= links(answer.text)
            assert len(seen) > 8


async def test_without_pages_there_are_none(database_url: str, tmp_path: Path) -> None:
    engine = TradeEngine(engine_config(database_url, {"pages.enabled": False}), tmp_path)
    await engine.start()
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{engine.api.port}", timeout=30) as http:
            welcome = await http.get("/", headers={"Accept": "text/html"})
            assert (welcome.status_code, welcome.json()["page"]) == (200, None)
            for path in ("/trade", "/console", "/pages/pages.css"):
                assert (await http.get(path)).status_code == 404, path
            token = engine.issue_token("92e16396-2def-5821-8627-f843995bd1f3", (ADMIN,))
            answer = await http.get("/api/v1/admin/engine", headers={"Authorization": f"Bearer {token}"})
            assert answer.status_code == 200
    finally:
        await engine.stop()
        await asyncio.sleep(0)


def test_pages_have_no_script_or_style_of_their_own() -> None:
    """Their policy forbids it; and what is HTML out of a text is forbidden to ours."""
    for name in ("trade.html", "console.html"):
        page = (ASSETS / name).read_text(encoding="utf-8")
        assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:|<script(?![^>]*\ssrc=)", page), name
    for path in ASSETS.iterdir():
        if path.name.endswith(".js"):
            text = path.read_text(encoding="utf-8")
            assert not FORBIDDEN.search(text), path.name


def test_the_chart_library_comes_with_its_licence_and_its_makers_are_named() -> None:
    assert "Apache License" in (ASSETS / "lightweight-charts.LICENSE.txt").read_text(encoding="utf-8")
    assert "TradingView" in (ASSETS / "NOTICE.txt").read_text(encoding="utf-8")
    assert 'href="https://www.tradingview.com/"' in (ASSETS / "trade.html").read_text(encoding="utf-8")
