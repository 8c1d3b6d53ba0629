"""Streams over the end of an engine: sequences go on after kill -9, and a rebuilt memory is told without a gap."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.processes import funded, load, served
from tests.e2e.venue import Venue
from tests.e2e.ws.client import client
from trade_engine.sequencer.publish import CommittedBatch
from trade_engine.sequencer.store.commit import Writer
from trade_engine.sequencer.store.port import CommitUnknown

SYMBOL = "BTC/USDT"


async def watched(port: int, tokens: list[str]) -> dict[str, Any]:
    """Trade for a while, watching; what was last seen."""
    async with client(port, tokens[0]) as link:
        for channel in ("depth", "trades"):
            await link.do("subscribe", channel=channel, symbol=SYMBOL)
        await link.do("subscribe", channel="orders")
        await load(port, tokens, {}, 1.0)
        await asyncio.sleep(0.3)
        book, told = link.books[SYMBOL], link.messages["trades", SYMBOL]
        return {
            "first": min(book.history),
            "sequence": book.sequence,
            "sides": (dict(book.bids), dict(book.asks)),
            "trade": [message["data"] for message in told if message["data"]][-1][-1]["sequence"],
            "snapshot": told[0]["data"],
            "stream": link.messages["orders", None][0]["stream"],
        }


def test_sequences_go_on_after_kill_9(data_dir: Path) -> None:
    with served(data_dir) as (port, server):
        tokens = asyncio.run(funded(data_dir, 4))
        before = asyncio.run(watched(port, tokens))
        server.kill()
        server.wait()
    with served(data_dir) as (port, _):
        after = asyncio.run(watched(port, tokens))
    assert after["first"] >= before["sequence"] > 0
    assert after["sequence"] > after["first"]
    assert after["trade"] > before["trade"]
    assert before["trade"] in [trade["sequence"] for trade in after["snapshot"]]
    assert after["stream"] != before["stream"]


async def test_a_commit_of_unknown_fate_is_told(venue: Venue, monkeypatch: pytest.MonkeyPatch) -> None:
    symbol = venue.market()
    base = symbol.split("/")[0]
    trader = await venue.trader(USDT="100000", **{base: "100"})
    token = trader.headers["Authorization"].removeprefix("Bearer ")
    async with client(venue.running.websocket.port, token) as link:
        for channel in ("depth", "trades", "book"):
            await link.do("subscribe", channel=channel, symbol=symbol)
        for channel in ("orders", "fills", "balances"):
            await link.do("subscribe", channel=channel)
        await trader.order(symbol, "SELL", "1", "10.00", self_trade_prevention="NONE")
        commit = Writer.commit

        async def lost(self: Writer, batch: CommittedBatch) -> None:
            """Commit, and lose the connection before the answer."""
            monkeypatch.setattr(Writer, "commit", commit)
            await commit(self, batch)
            raise CommitUnknown("the connection is gone")

        monkeypatch.setattr(Writer, "commit", lost)
        body = {"symbol": symbol, "side": "BUY", "type": "LIMIT", "quantity": "0.4", "price": "10.00"}
        answer = await trader.post(body | {"self_trade_prevention": "NONE", "client_order_id": "lost"})
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "OUTCOME_UNKNOWN")
        again = await trader.post(body | {"self_trade_prevention": "NONE", "client_order_id": "lost"})
        assert again.status_code == 200, again.text
        book = link.books[symbol]
        await link.until(lambda: book.asks == {"10.00": "0.6"})
        trades = link.messages["trades", symbol]
        await link.until(lambda: [trade["quantity"] for message in trades for trade in message["data"]] == ["0.4"])
        for channel in ("orders", "fills", "balances"):
            streams = link.messages[channel, None]
            await link.until(lambda streams=streams: streams[-1]["stream"] != streams[0]["stream"])
            newest = [message for message in streams if message["stream"] == streams[-1]["stream"]]
            assert newest[0].get("snapshot") is True
            assert [message["sequence"] for message in newest] == list(range(1, len(newest) + 1))
        shown = [m for m in link.messages["orders", None] if m.get("snapshot")][-1]["data"]
        assert [order["filled_quantity"] for order in shown] == ["0.4"]
