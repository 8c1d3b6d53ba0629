"""Changes by operators: each has a reason, and is written down before it is done and again if it then fails."""

import contextlib
from collections.abc import AsyncIterator

from trade_engine.domain.errors import EngineError
from trade_engine.edge.rest.call import Call
from trade_engine.settlement.dead_letters import audit


@contextlib.asynccontextmanager
async def audited(call: Call, action: str, subject: str, reason: str) -> AsyncIterator[None]:
    """Note who does what to what and why, around doing it: no change goes unrecorded, even if the process dies.

    Raises:
        InvalidRequest: INVALID_REASON; nothing is done.
    """
    pool = call.services.backoffice.pool
    await audit(pool, call.user_id, action, subject, reason, "asked for")
    try:
        yield
    except EngineError as error:
        await audit(pool, call.user_id, action, subject, reason, f"refused: {error.code}")
        raise
