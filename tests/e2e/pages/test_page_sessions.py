"""The sessions that benchmarks have at the page ask for what the page itself asks for."""

import json
from typing import Any

import pytest

from tests.e2e.pages.conftest import Venue, log_in
from trade_engine.bench.page_sessions import MARKET_CHANNELS, POLLED, PRIVATE_CHANNELS
from trade_engine.bench.pages import page_sessions

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_what_is_recorded_is_what_the_page_sends(venue: Venue) -> None:
    sent: list[dict[str, Any]] = []
    asked: set[str] = set()
    async with venue.page() as watched:
        page = watched.page
        page.on("request", lambda request: asked.add(request.url.removeprefix(venue.url).partition("?")[0]))
        page.on("websocket", lambda link: link.on("framesent", lambda frame: sent.append(json.loads(frame))))
        await page.reload()
        await watched.shows("#connection", "Live")
        await log_in(watched, venue.token(await venue.trader(USDT="1")))
        await watched.shows("#available", "1 USDT")
    channels = [{key: value for key, value in frame.items() if key not in ("op", "id", "symbol")} for frame in sent]
    subscribed = [terms for frame, terms in zip(sent, channels, strict=True) if frame["op"] == "subscribe"]
    assert sorted(subscribed, key=str) == sorted(
        [*MARKET_CHANNELS, *({"channel": c} for c in PRIVATE_CHANNELS)], key=str
    )
    assert asked >= set(POLLED)


async def test_sessions_come_in_and_leave(venue: Venue) -> None:
    tokens = [venue.token(await venue.trader(USDT="1")) for _ in range(3)]
    async with page_sessions(venue.engine.port, tokens) as pid:
        assert pid > 0
