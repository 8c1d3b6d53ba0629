"""`trade-engine-client`: the client's folder as a package of its own, in an environment with what it says it needs."""

import asyncio
import functools
import shutil
import subprocess
import sys
import venv
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement

from tests.conftest import ROOT
from tests.e2e.client.conftest import address, token_of
from tests.e2e.venue import Venue

PROGRAM = """
import asyncio, importlib.util, sys
from decimal import Decimal
from trade_engine_client import AsyncClient, Client, DepthMessage

url, token, symbol = sys.argv[1:]
assert importlib.util.find_spec("trade_engine") is None, "the engine is not here"
with Client(url, token=token) as client:
    placed = client.place(symbol, "BUY", "1", "10")
    assert placed.order.status == "OPEN"

async def main():
    async with AsyncClient(url, token=token) as client, client.stream() as stream:
        assert (await client.cancel(placed.order.id)).status == "CANCELLED"
        await stream.subscribe("depth", symbol)
        resting = await stream.place(symbol, "BUY", "2", "9")
        async for message in stream:
            if isinstance(message, DepthMessage) and stream.book(symbol).best_bid:
                assert stream.book(symbol).best_bid == (Decimal("9.00"), Decimal(2)), stream.book(symbol).best_bid
                break
        assert await client.cancel_all() == 1

asyncio.run(main())
assert not [name for name in sys.modules if name.partition(".")[0] == "trade_engine"]
print("traded", "click" in sys.modules)
"""


def build(folder: Path) -> Path:
    """The wheel, as ``make client-dist`` builds it."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", folder, ROOT / "packages" / "client"], check=True, capture_output=True)
    (wheel,) = folder.glob("trade_engine_client-*-py3-none-any.whl")
    return wheel


def bring(names: list[str], site: Path) -> set[str]:
    """Copy distributions that are installed here, and all that they need, nothing else: their names."""
    brought: set[str] = set()
    while names:
        name = names.pop()
        if name in brought:
            continue
        brought.add(name)
        found = distribution(name)
        for file in found.files or ():
            if ".." not in file.parts and "__pycache__" not in file.parts:
                (site / file).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(Path(str(found.locate_file(file))), site / file)
        wanted = [Requirement(text) for text in found.requires or ()]
        names += [each.name for each in wanted if each.marker is None or each.marker.evaluate({"extra": ""})]
    return brought


async def test_it_trades_in_an_environment_of_its_own(venue: Venue, tmp_path: Path) -> None:
    wheel = await asyncio.to_thread(build, tmp_path)
    environment = tmp_path / "venv"
    venv.create(environment, symlinks=True, with_pip=False)
    (site,) = environment.glob("lib/python3*/site-packages")
    shutil.unpack_archive(wheel, site, "zip")
    (metadata,) = site.glob("trade_engine_client-*.dist-info/METADATA")
    needs = [line.partition(": ")[2] for line in metadata.read_text().splitlines() if line.startswith("Requires-Dist")]
    brought = bring([Requirement(text).name for text in needs], site)
    assert "click" not in brought
    assert len(brought) < 15, brought
    trader, symbol = await venue.trader(USDT="1000"), venue.market()
    command = [environment / "bin" / "python", "-I", "-c", PROGRAM, address(venue), token_of(trader), symbol]
    run = functools.partial(subprocess.run, command, capture_output=True, text=True, timeout=60, check=False)
    ran = await asyncio.to_thread(run)
    assert (ran.returncode, ran.stdout) == (0, "traded False\n"), ran.stderr
