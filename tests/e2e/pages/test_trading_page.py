"""The trading page as people use it, in a real browser before a real engine."""

import asyncio
import json
import signal
import uuid
from typing import Any, Final

import pytest

from tests.e2e.pages.conftest import SHOOT, Venue, a_past, full, log_in, picture
from tests.harness.browser import Watched
from trade_engine.bench.page_sessions import MARKET_CHANNELS, POLLED, PRIVATE_CHANNELS
from trade_engine.bench.pages import page_sessions

pytestmark = pytest.mark.asyncio(loop_scope="module")

FUNDS: Final = {"USDT": "100000", "BTC": "10", "ETH": "50"}
HOSTILE: Final = "<img src=x onerror=window.hacked=1>"
HACKED: Final = "[window.hacked, document.querySelectorAll('main img, main script').length]"
ROW: Final = "([at, words]) => [...document.querySelectorAll(`${at} tr`)].some((row) => row.innerText.includes(words))"


async def place(watched: Watched, side: str, price: str, quantity: str) -> None:
    """Fill in the form and send it, with the keyboard alone."""
    page = watched.page
    radio = page.locator(f"#order-form input[value={side}]")
    await radio.focus()
    await page.keyboard.press("Space")
    await page.locator("#price").focus()
    await page.keyboard.press("Control+A")
    await page.keyboard.type(price)
    await page.keyboard.press("Tab")
    await page.keyboard.type(quantity)
    await page.keyboard.press("Enter")


async def test_a_trade_is_seen_from_both_sides(venue: Venue) -> None:
    """One sells, the other buys a part; each sees the order, the trade, and the money."""
    seller, buyer = await venue.trader(**FUNDS), await venue.trader(**FUNDS)
    async with venue.page(seller) as hers, venue.page(buyer) as his:
        for page in (hers, his):
            await page.shows("#available", "100\u202f000 USDT")
        await place(hers, "SELL", "50000.00", "0.3")
        await hers.shows("#orders", "open")
        for page in (hers, his):
            await page.shows("#asks", "50000.00")
        await place(his, "BUY", "50000.00", "0.1")
        await his.shows("#messages", "filled")
        await hers.shows("#orders", "partially filled")
        for page in (hers, his):
            await page.shows("#last", "50\u202f000.00")
            await page.page.click("#tab-tape")
            await page.shows("#tape", "0.100000")
            await page.page.click("#tab-fills")
            await page.shows("#fills", "settled")
        await his.shows("#fills", "5 USDT")
        await hers.shows("#fills", "2.5 USDT")
        await his.page.click("#tab-balances")
        await his.shows("#balances", "10.1")
        await his.shows("#balances", "94\u202f995")
        await hers.page.click("#tab-orders")
        await hers.page.click("#orders button")
        await hers.shows("#orders", "No open orders")
        await his.until("() => !document.querySelector('#asks').innerText.includes('50000.00')")


async def test_what_the_rules_forbid_is_said_before_it_is_sent(venue: Venue) -> None:
    async with venue.page(await venue.trader(USDT="100")) as watched:
        for price, quantity, field, words in (
            ("100.001", "1", "price", "whole steps of 0.01"),
            ("100.00", "0.0000001", "quantity", "whole steps of 0.000001"),
            ("100.00", "0.01", "quantity", "a value of at least 5 USDT"),
            ("100.00", "1", "quantity", "needs 100.1 USDT with its fee, 100 available"),
            ("nonsense", "1", "price", "not a number"),
        ):
            await watched.page.fill("#price", price)
            await watched.page.fill("#quantity", quantity)
            await watched.page.click("#submit")
            await watched.shows(f"#{field}-problem", words)
            assert await watched.page.get_attribute(f"#{field}", "aria-invalid") == "true"
        assert await watched.page.locator("#orders button").count() == 0


@full
async def test_a_trader_sees_a_halt_and_its_end(venue: Venue) -> None:
    async with venue.page(await venue.trader(**FUNDS), "/trade#ETH-USDT") as watched:
        await watched.shows("#submit", "Buy ETH")
        await venue.administrate("POST", "/markets/ETH-USDT/halt", {"reason": "a test"})
        await watched.shows("#state", "halted")
        await watched.shows("#messages", "ETH/USDT is halted now")
        assert await watched.page.is_disabled("#submit")
        await watched.shows("#markets", "halted")
        await venue.administrate("POST", "/markets/ETH-USDT/resume", {"reason": "a test"})
        await watched.until("() => document.querySelector('#state').hidden")
        assert await watched.page.is_enabled("#submit")


@full
async def test_a_restart_of_the_engine_is_survived(venue: Venue) -> None:
    """The page says that its data is old, comes back by itself, still logged in, and goes on."""
    user = await venue.trader(**FUNDS)
    await venue.order(user, "BUY", "41000.00")
    async with venue.page(user) as watched:
        await watched.shows("#orders", "41\u202f000.00")
        venue.engine.signal(signal.SIGTERM)
        await asyncio.to_thread(venue.engine.ended)
        await watched.shows("#connection", "Not connected")
        assert await watched.page.evaluate("document.body.classList.contains('stale')")
        venue.engine.start()
        await venue.engine.ready()
        await watched.shows("#connection", "Live")
        await venue.order(user, "BUY", "42000.00")
        await watched.shows("#orders", "42\u202f000.00")
        await watched.shows("#bids", "42000.00")
        await watched.page.click("#cancel-all", no_wait_after=True)


async def test_texts_of_others_stay_texts(venue: Venue) -> None:
    """Client order ids as users choose them, and symbols as only a hostile server could have them."""
    user = await venue.trader(**FUNDS)
    for hostile in (HOSTILE, '"><script>window.hacked=1</script>', "'+alert(1)+'", "\u202e\u202e\u2066 x"):
        answer = await venue.engine.order(user, "BUY", "31000.00", client_order_id=hostile)
        assert answer is not None
        assert answer.status_code in (201, 400), answer.text
    async with venue.page(user) as watched:
        await watched.until(ROW, ["#orders", HOSTILE])
        assert await watched.page.evaluate(HACKED) == [None, 0]

    async def patched(visitor: Any) -> None:
        async def hostile_markets(route: Any) -> None:
            answer = await route.fetch()
            content = await answer.json()
            market = content["data"][0] | {"symbol": f"{HOSTILE}/USDT", "base": HOSTILE, "state": HOSTILE}
            content["data"].append(market)
            await route.fulfill(status=200, content_type="application/json", body=json.dumps(content))

        await visitor.route("**/api/v1/markets", hostile_markets)

    async with venue.page(patched=patched) as watched:
        await watched.shows("#markets", HOSTILE)
        await watched.page.select_option("#market", f"{HOSTILE}/USDT")
        await watched.shows("#state", HOSTILE.lower())
        assert await watched.page.evaluate(HACKED) == [None, 0]


async def test_a_login_is_kept_in_memory_alone(venue: Venue) -> None:
    user = await venue.trader(USDT="5")
    asked: list[str] = []
    async with venue.page() as watched:
        watched.page.on("request", lambda request: asked.append(request.url))
        watched.page.on("websocket", lambda socket: asked.append(socket.url))
        token = venue.token(user)
        await log_in(watched, token)
        await watched.shows("#available", "5 USDT")
        kept = await watched.page.evaluate(
            "[localStorage.length, sessionStorage.length, document.cookie, document.querySelector('#token').value,"
            " location.href, document.documentElement.outerHTML]"
        )
        assert kept[:4] == [0, 0, "", ""]
        assert all(token not in text for text in [*kept[4:], *asked])
        await watched.page.reload()
        await watched.shows("#log-in", "Log in")
        await watched.shows("#available", "log in to see")


@full
async def test_an_api_key_trades_and_a_bad_one_is_refused(venue: Venue) -> None:
    user = await venue.trader(**FUNDS)
    headers = {"Authorization": f"Bearer {venue.token(user)}"}
    terms = {"name": "page", "scopes": ["read", "trade"]}
    made = await venue.engine.ask("POST", "/api/v1/api-keys", json=terms, headers=headers)
    assert made is not None
    key, good = made.json()["data"]["key"], made.json()["data"]["secret"]
    async with venue.page() as watched:
        page = watched.page
        await page.click("#log-in")
        await page.click("#tab-key")
        await page.fill("#key-id", key["key_id"])
        for secret, shown in (("0" * 64, "INVALID_SIGNATURE"), (good, "")):
            await page.fill("#key-secret", secret)
            await page.click("#login-form [type=submit]")
            await watched.shows("#login-problem" if shown else "#log-in", shown or "Log out")
        await place(watched, "BUY", "30000.00", "0.01")
        await watched.shows("#orders", "30\u202f000.00")
        await watched.page.click("#orders button")
        await watched.shows("#orders", "No open orders")
        await watched.page.click("#log-in")
        await watched.shows("#orders", "Log in to see")


@full
@pytest.mark.parametrize(
    ("name", "width", "height", "dark"),
    [("trade-light", 1440, 900, False), ("trade-dark", 1440, 900, True), ("trade-phone", 390, 844, True)],
)
async def test_nobody_is_kept_out(venue: Venue, name: str, width: int, height: int, dark: bool) -> None:
    """Light, dark, on a phone: nothing serious for axe-core, in any tab, and nothing is wider than the window."""
    user, other = await venue.trader(**FUNDS), await venue.trader(**FUNDS)
    if SHOOT:
        await a_past(venue.database_url)
    for number in range(12):
        await venue.order(other, "SELL", f"{50_000 + 10 * number}.00", quantity=f"0.0{number + 1}")
        await venue.order(other, "BUY", f"{49_990 - 10 * number}.00", quantity=f"0.0{number + 2}")
    await venue.order(user, "BUY", "50020.00", quantity="0.05")
    await venue.order(user, "BUY", "49000.00", client_order_id=f"mine {uuid.uuid4().hex[:8]}")
    async with venue.page(user, width=width, height=height, dark=dark) as watched:
        page = watched.page
        await watched.shows("#orders", "49\u202f000.00")
        await watched.shows("#bids", "49990.00")
        await page.fill("#price", "49990.00")
        await page.fill("#quantity", "0.25")
        await watched.shows("#value", "12\u202f497.5 USDT")
        await picture(watched, "trader", name)
        assert await watched.barriers() == []
        assert await page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
        for tab in ("#tab-depth", "#tab-tape", "#tab-fills"):
            await page.click(tab)
        await page.locator(".rules summary").click()
        assert await watched.barriers() == []
        assert await page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
        await page.click("#log-in")
        await page.click("#log-in")
        assert await watched.barriers() == []
        await page.keyboard.press("Escape")
    await venue.administrate("DELETE", "/orders?symbol=BTC-USDT&reason=the+next+test")


async def test_sessions_of_benchmarks_ask_for_what_the_page_asks_for(venue: Venue) -> None:
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
    # As a set: on a machine that is busy the first loading of the page is heard, too.
    wanted = [*MARKET_CHANNELS, *({"channel": name} for name in PRIVATE_CHANNELS)]
    assert set(map(str, subscribed)) == set(map(str, wanted))
    assert asked >= set(POLLED)


@full
async def test_sessions_of_benchmarks_come_in_and_leave(venue: Venue) -> None:
    tokens = [venue.token(await venue.trader(USDT="1")) for _ in range(3)]
    async with page_sessions(venue.engine.port, tokens) as people:
        await venue.order(await venue.trader(**FUNDS), "BUY", "27000.00")
    # Snapshots and answers of the private channels at least.
    assert people.messages >= 3 * len(tokens)
