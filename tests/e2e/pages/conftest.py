"""An engine as a process of its own, and a browser, that the tests of a module share."""

import os
import random
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import asyncpg
import pytest
import pytest_asyncio
from playwright.async_api import Browser

from tests.conftest import ROOT
from tests.e2e.engines import SECRET, EngineProcess
from tests.harness.browser import BrowserMissing, Watched, axe, browser, in_ci, opened, program
from tests.harness.postgres import TestServer
from trade_engine.bench.own_server import free_port
from trade_engine.bootstrap.attached import attached_wallet
from trade_engine.domain.scale import parse_units
from trade_engine.edge.auth.tokens import ADMIN, TRADER, issue_token

MARKETS = (
    '[{"symbol":"BTC/USDT","tick_size":"0.01","lot_size":"0.000001","min_notional":"5","price_band":"0.5"},'
    '{"symbol":"ETH/USDT","tick_size":"0.01","lot_size":"0.0001"}]'
)
#: `make pages`: the pictures in docs/ are made anew.
SHOOT = os.environ.get("PAGES") == "shoot"
#: What takes long is left to it, and to CI.
full: Final = pytest.mark.skipif("PAGES" not in os.environ and not in_ci(), reason="`make pages` runs it")


class Venue:
    """The engine, its database and the browser that people sit at."""

    def __init__(self, engine: EngineProcess, database_url: str, screen: Browser, admin_port: int) -> None:
        self.engine = engine
        self.database_url = database_url
        self.screen = screen
        self.url = f"http://127.0.0.1:{engine.port}"
        self.console_url = f"http://127.0.0.1:{admin_port}"

    async def trader(self, **funds: str) -> str:
        """A new user with these funds (asset=amount)."""
        user_id = str(uuid.uuid4())
        async with attached_wallet(self.database_url) as wallet:
            for asset, amount in funds.items():
                assert (await wallet.deposit(user_id, asset, parse_units(amount), str(uuid.uuid4()))).ok
        return user_id

    def token(self, user_id: str, role: str = TRADER) -> str:
        """A token of the venue for a user."""
        return issue_token(SECRET, user_id, [role])

    @asynccontextmanager
    async def page(self, user_id: str | None = None, path: str = "/trade", **more: Any) -> AsyncIterator[Watched]:
        """The trading page, as a user who has logged in sees it."""
        async with opened(self.screen, self.url + path, **more) as watched:
            if user_id is not None:
                await log_in(watched, self.token(user_id))
            yield watched

    async def order(self, user_id: str, side: str, price: str, **more: str) -> Any:
        """Place an order as a program does: the answer's data."""
        answer = await self.engine.order(user_id, side, price, **more)
        assert answer is not None
        assert answer.status_code == 201, answer.text
        return answer.json()["data"]

    async def administrate(self, method: str, path: str, body: Any = None) -> Any:
        """What an operator's program is answered."""
        headers = {"Authorization": f"Bearer {self.token(str(uuid.uuid4()), ADMIN)}"}
        port = int(self.console_url.rpartition(":")[2])
        answer = await self.engine.ask(method, f"/api/v1/admin{path}", port, headers=headers, json=body)
        assert answer is not None
        assert answer.status_code < 300, answer.text
        return answer.json()["data"]


async def log_in(watched: Watched, token: str) -> None:
    """Type a token into the dialog."""
    page = watched.page
    await page.click("#log-in")
    await page.fill("#token", token)
    await page.click("#login-form [type=submit]")
    await watched.shows("#log-in", "Log out")


async def a_past(database_url: str, minutes: int = 150) -> None:
    """Candles of a market that has lived for a while, for the pictures alone: a random walk of a fixed seed."""
    rng, price, rows = random.Random(3), 49_800.0, []
    for ago in range(minutes, 0, -1):
        opened_at = price
        price += rng.gauss((50_005 - price) / (ago + 2), 14)
        high, low = max(opened_at, price) + rng.random() * 12, min(opened_at, price) - rng.random() * 12
        rows.append((ago, *(round(each, 2) for each in (opened_at, high, low, price)), round(rng.uniform(0.2, 3), 4)))
    connection = await asyncpg.connect(database_url)
    try:
        await connection.executemany(
            "INSERT INTO candles SELECT market_id, '1m', date_trunc('minute', now()) - $1::INT * interval '1 minute',"
            " $2::FLOAT, $3::FLOAT, $4::FLOAT, $5::FLOAT, $6::FLOAT, $6::FLOAT * $5::FLOAT, 9, 0"
            " FROM markets WHERE symbol = 'BTC/USDT' ON CONFLICT DO NOTHING",
            rows,
        )
    finally:
        await connection.close()


async def picture(watched: Watched, folder: str, name: str) -> None:
    """Keep a picture for the guides, if they are to be made anew."""
    if SHOOT:
        place = ROOT / "docs" / folder / "images" / f"{name}.png"
        place.parent.mkdir(exist_ok=True)
        await watched.page.evaluate("scrollTo(0, 0)")
        await watched.page.screenshot(path=place)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def venue(postgres: TestServer, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Venue]:
    """A running engine with two markets, an operators' port with a console, and a browser."""
    try:
        program()
        axe()
    except BrowserMissing as error:
        if in_ci():
            raise
        pytest.skip(str(error))
    database_url, admin_port = postgres.migrated(), free_port()
    folder: Path = tmp_path_factory.mktemp("pages")
    settings = {
        "MATCHING__MARKETS": MARKETS,
        "PAGES__CONSOLE": "true",
        "SERVER__ADMIN_PORT": str(admin_port),
        "SERVER__ADDRESS_MESSAGES_PER_S": "0",
        "LOGGING__LEVEL": "warning",
    }
    engine = EngineProcess(folder, database_url, **settings)
    engine.start()
    try:
        await engine.ready()
        async with browser() as screen:
            yield Venue(engine, database_url, screen, admin_port)
    finally:
        engine.stop()
        postgres.drop(database_url)
