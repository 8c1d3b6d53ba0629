"""The operator's console in a real browser, at a port of its own."""

import json
import uuid
from typing import Any, Final

import pytest

from tests.e2e.pages.conftest import Venue, full, picture
from tests.harness.browser import Watched, opened
from trade_engine.edge.auth.tokens import ADMIN

pytestmark = pytest.mark.asyncio(loop_scope="module")

FUNDS: Final = {"USDT": "100000", "BTC": "10"}
HOSTILE: Final = "<img src=x onerror=window.hacked=1>"


async def enter(watched: Watched, venue: Venue, role: str = ADMIN) -> None:
    """Log in as an operator."""
    await watched.page.fill("#token", venue.token(str(uuid.uuid4()), role))
    await watched.page.click("#entrance-form [type=submit]")


async def because(watched: Watched, reason: str) -> None:
    """Give the reason that a change asks for, after it was refused without one."""
    await watched.page.click("#change-submit")
    await watched.shows("#change-problem", "A reason is needed")
    await watched.page.fill("#reason", reason)
    await watched.page.click("#change-submit")
    await watched.until("() => !document.querySelector('#change').open")


@full
async def test_an_operator_halts_changes_fees_and_is_written_down(venue: Venue) -> None:
    user = await venue.trader(**FUNDS)
    placed = await venue.order(user, "BUY", "29000.00", client_order_id=HOSTILE)
    async with opened(venue.screen, f"{venue.console_url}/console") as watched:
        page = watched.page
        await enter(watched, venue, "trader")
        await watched.shows("#entrance-problem", "FORBIDDEN")
        await enter(watched, venue)
        await watched.shows("#parts", "ready")
        await watched.shows("#latencies", "Commit")
        await page.click("#tab-markets")
        await page.click("[aria-label='Halt BTC/USDT']")
        await because(watched, HOSTILE)
        await watched.shows("#market-rows", "HALTED")
        await page.click("[aria-label='Resume BTC/USDT']")
        await because(watched, "it is over")
        await page.click("[aria-label='Change the fees of BTC/USDT']")
        await page.fill("#change-taker_fee", "0.0015")
        await because(watched, "a better tier")
        await watched.shows("#market-rows", "0.15 %")
        await page.click("#tab-users")
        await page.fill("#user-id", user)
        await page.click("#user-form [type=submit]")
        await watched.shows("#user-balances", "99\u202f709.71")
        await watched.shows("#user-orders", HOSTILE)
        await watched.shows("#user-entries", "DEPOSIT")
        await page.click("#user-orders button")
        await because(watched, "asked for by phone")
        await watched.shows("#user-orders", "CANCELLED, ADMIN_REQUEST")
        await page.click("#tab-audit")
        for words in ("market.state.halted", HOSTILE, "a better tier", placed["order"]["id"], "asked for by phone"):
            await watched.shows("#audit-rows", words)
        assert await page.evaluate("[window.hacked, document.querySelectorAll('main img').length]") == [None, 0]
    await venue.administrate("PATCH", "/markets/BTC-USDT", {"taker_fee": "0.001", "reason": "as it was"})


@full
async def test_checks_say_what_came_of_them(venue: Venue) -> None:
    async with opened(venue.screen, f"{venue.console_url}/console") as watched:
        page = watched.page
        await enter(watched, venue)
        await page.click("#tab-checks")
        await page.click("#reconcile")
        await because(watched, "before the weekend")
        await watched.shows("#reconciliation", "0 differences")
        await page.click("#verify")
        await because(watched, "before the weekend")
        await watched.shows("#verification", "agrees")
        await watched.shows("#verification", "journal head")
        await picture(watched, "operator", "console-checks")


@full
async def test_a_dead_letter_is_shown_and_resolved(venue: Venue) -> None:
    """Shown as a server would that has one: to make a wallet refuse for good takes more than a page's test."""
    letter = {
        "id": 7, "kind": "SETTLE", "trade_id": str(uuid.uuid4()), "order_id": None, "user_id": None, "asset": None,
        "amount": None, "reason": "trade", "attempts": 3, "last_reason": HOSTILE, "created_at": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    asked: list[tuple[str, Any]] = []

    async def patched(visitor: Any) -> None:
        async def answered(route: Any) -> None:
            request = route.request
            asked.append((f"{request.method} {request.url.partition('/admin')[2]}", request.post_data_json))
            data: Any = letter if request.url.endswith("/7") else {"id": 7, "status": "RESOLVED"}
            data = [letter] if "limit=" in request.url else data
            content = json.dumps({"success": True, "data": data, "meta": {}})
            await route.fulfill(status=200, content_type="application/json", body=content)

        await visitor.route("**/admin/dead-letters**", answered)

    async with opened(venue.screen, f"{venue.console_url}/console", patched=patched) as watched:
        page = watched.page
        await enter(watched, venue)
        await page.click("#tab-letters")
        await watched.shows("#letter-rows", HOSTILE)
        await page.click("[aria-label='Show dead letter 7']")
        await watched.shows("#details-rows", HOSTILE)
        await page.click("#details-close")
        for how in ("Retry", "Resolve"):
            await page.click(f"[aria-label='{how} dead letter 7']")
            await because(watched, f"to {how}")
            assert (f"POST /dead-letters/7/{how.lower()}", {"reason": f"to {how}"}) in asked


@full
@pytest.mark.parametrize(
    ("name", "width", "height", "dark"),
    [("console", 1280, 800, False), ("console-dark", 1280, 800, True), ("console-phone", 390, 844, False)],
)
async def test_no_operator_is_kept_out(venue: Venue, name: str, width: int, height: int, dark: bool) -> None:
    user = await venue.trader(**FUNDS)
    await venue.order(user, "BUY", "28000.00")
    async with opened(venue.screen, f"{venue.console_url}/console", width, height, dark=dark) as watched:
        page = watched.page
        assert await watched.barriers() == []
        await enter(watched, venue)
        await watched.shows("#latencies", "Commit")
        await picture(watched, "operator", name)
        for tab in ("health", "markets", "letters", "users", "checks", "audit"):
            await page.click(f"#tab-{tab}")
            if tab == "users":
                await page.fill("#user-id", user)
                await page.click("#user-form [type=submit]")
                await watched.shows("#user-orders", "28\u202f000.00")
            if tab == "markets":
                await watched.shows("#market-rows", "BTC/USDT")
                if name == "console":
                    await picture(watched, "operator", "console-markets")
            assert await watched.barriers() == [], tab
            assert await page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, tab
        await page.click("#tab-markets")
        await page.click("[aria-label='Halt BTC/USDT']")
        assert await watched.barriers() == []
