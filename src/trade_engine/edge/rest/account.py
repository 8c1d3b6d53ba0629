"""Routes of the caller's account."""

from trade_engine.edge.rest.call import Answer, Call


async def balances(call: Call) -> Answer:
    """Look up your balances.

    Available, reserved, and what unsettled trades will bring (pending), by asset.
    """
    return Answer(await call.services.balances.of(call.user_id))
