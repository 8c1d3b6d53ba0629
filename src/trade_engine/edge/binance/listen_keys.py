"""Routes of listen keys: make one, let it live on, end it.  The API key alone is asked for, and no signature."""

from typing import Final

from trade_engine.edge.binance.given import need
from trade_engine.edge.binance.refusals import Numbered
from trade_engine.edge.rest.call import Answer, Call

#: Where they are, for those who read logins.
PATH: Final = "/api/v3/userDataStream"


async def make(call: Call) -> Answer:
    """Make a listen key, or let the one that there is live on."""
    return Answer({"listenKey": call.services.listen_keys.make(call.caller)})


async def extend(call: Call) -> Answer:
    """Let a listen key live for another hour."""
    if not call.services.listen_keys.extend(need(call.query, "listenKey"), call.caller):
        raise no_listen_key()
    return Answer({})


async def end(call: Call) -> Answer:
    """End a listen key, and with it the streams that it opened."""
    if not call.services.listen_keys.end(need(call.query, "listenKey"), call.caller):
        raise no_listen_key()
    return Answer({})


def no_listen_key() -> Numbered:
    """The caller has no such listen key."""
    return Numbered(-1125, "This listenKey does not exist.")
