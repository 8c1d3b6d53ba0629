"""The AsyncAPI document, the code and the messages of a real session say the same."""

import re
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml
from click.testing import CliRunner

from tests.e2e.ws.client import client
from tests.e2e.ws.conftest import Start
from tests.e2e.ws.flow import bearer, rich
from trade_engine.cli import main
from trade_engine.edge.ws import connection
from trade_engine.edge.ws.accounts import PRIVATE
from trade_engine.edge.ws.commands import COMMANDS, OPS
from trade_engine.edge.ws.session import LEVELS, MARKET_CHANNELS, NOT_JSON
from trade_engine.marketdata.intervals import INTERVALS

GUIDE = Path(__file__).parents[3] / "docs" / "trader" / "websocket.md"
DOCUMENT: dict[str, Any] = yaml.safe_load(CliRunner().invoke(main, ["asyncapi"]).output)
SCHEMAS = DOCUMENT["components"]["schemas"]


def faults(message: str, payload: Any) -> list[str]:
    """What a payload's schema has against it."""
    schema = DOCUMENT["components"]["messages"][message]["payload"] | {"components": DOCUMENT["components"]}
    return [f"{message}: {error.message}" for error in jsonschema_rs.validator_for(schema).iter_errors(payload)]


def name_of(message: dict[str, Any]) -> str:
    if message["type"] == "response":
        return f"answer_{message['op']}" if message["success"] else "failure"
    return "depth_levels" if "levels" in message else str(message["type"])


def test_every_reference_leads_somewhere() -> None:
    def follow(node: Any) -> None:
        if isinstance(node, dict):
            if "$ref" in node:
                target: Any = DOCUMENT
                for part in node["$ref"].removeprefix("#/").split("/"):
                    target = target[part]
            for value in node.values():
                follow(value)
        elif isinstance(node, list):
            for value in node:
                follow(value)

    assert DOCUMENT["asyncapi"] == "3.0.0"
    follow(DOCUMENT)
    assert DOCUMENT["channels"]["session"]["messages"].keys() == DOCUMENT["components"]["messages"].keys()


def test_examples_fit_their_schemas() -> None:
    for name, message in DOCUMENT["components"]["messages"].items():
        for example in message["examples"]:
            assert faults(name, example["payload"]) == []
    assert faults("ping", {"op": "ping", "more": 1}), "a schema refuses what it does not know"


def test_the_code_knows_the_same_commands_channels_and_codes() -> None:
    assert SCHEMAS["Op"]["enum"] == list(OPS)
    assert DOCUMENT["operations"].keys() == {*OPS, "tell"}
    for command in COMMANDS:
        schema = SCHEMAS["".join(part.capitalize() for part in str(command.__struct_config__.tag).split("_"))]
        assert schema["properties"].keys() == {"op", *command.__struct_fields__}
    assert set(SCHEMAS["Channel"]["enum"]) == {*MARKET_CHANNELS, *PRIVATE}
    assert SCHEMAS["Interval"]["enum"] == list(INTERVALS)
    assert SCHEMAS["Levels"]["enum"] == [0, *LEVELS]


def test_close_codes_are_those_of_the_guide_and_the_code() -> None:
    in_guide = {int(code) for code in re.findall(r"^\| (\d{4}) \|", GUIDE.read_text(), re.MULTILINE)}
    assert DOCUMENT["x-close-codes"].keys() == in_guide
    own = {connection.EXPIRED, connection.TOO_SLOW, NOT_JSON, connection.TOO_MANY}
    assert own == {code for code in in_guide if code >= 4000}


@pytest.mark.parametrize("levels", [0, 5])
async def test_messages_of_a_session_fit_the_document(start: Start, levels: int) -> None:
    details: dict[str, dict[str, Any]] = {"candles": {"interval": "1m"}, "depth": {"levels": levels}}
    async with start(websocket__statistics_ms=10) as venue:
        symbol = venue.market()
        trader, other = await rich(venue, symbol), await rich(venue, symbol)
        async with client(venue.running.websocket.port) as link:
            await link.do("ping")
            await link.do("auth", token=bearer(trader))
            for channel in PRIVATE:
                await link.do("subscribe", channel=channel)
            for channel in MARKET_CHANNELS:
                more: dict[str, Any] = details.get(channel, {})
                of = {} if channel == "tickers" else {"symbol": symbol}
                await link.do("subscribe", channel=channel, **of, **more)
            order = {"symbol": symbol, "side": "BUY", "type": "LIMIT", "quantity": "2", "price": "10.00"}
            placed = (await link.do("place", order=order | {"client_order_id": "x"}))["order"]
            assert (await link.do("place", order=order | {"client_order_id": "x"}))["replayed"] is True
            await other.order(symbol, "SELL", "1", "10.00")
            await link.do("amend", order_id=placed["id"], change={"quantity": "3"})
            await link.do("cancel", order_id=placed["id"])
            await link.do("cancel_on_disconnect", enabled=True)
            await link.do("cancel_all")
            await link.refused("place", order={})
            await link.do("unsubscribe", channel="fills")
            await link.until(lambda: all(len(found) > 1 for key, found in link.messages.items() if key[0] != "fills"))
            told = [message for found in link.messages.values() for message in found] + link.answers
            assert [fault for message in told for fault in faults(name_of(message), message)] == []
            seen = {name_of(message) for message in told}
            answers = {name for name in DOCUMENT["components"]["messages"] if name.startswith("answer_")}
            depth = "depth_levels" if levels else "depth"
            assert seen == answers | {"failure", depth, *PRIVATE, *MARKET_CHANNELS} - ({"depth"} if levels else set())
