"""What a client hears whose message is no command."""

import pytest

from trade_engine.edge.ws.commands import UnreadableCommand, read_command


def test_an_unknown_field_is_named_with_those_there_are() -> None:
    with pytest.raises(UnreadableCommand) as caught:
        read_command(b'{"op":"place","id":7,"symbol":"BTC/USDT"}')
    assert (caught.value.op, caught.value.command_id) == ("place", 7)
    assert caught.value.error.code == "UNKNOWN_FIELD"
    assert caught.value.error.details["field"] == "symbol"
    assert caught.value.error.message == "there is no field symbol: place takes order, id"
