"""How the engine takes leave of its clients, before anything is stopped: within a time, step by step.

    1 not ready      readiness and new requests get 503 with a code; who is in goes on
    2 a pause        ``server.drain_s``, so that balancers and probes see it
    3 drain          requests and WebSocket commands under way are answered, so the last batch is committed
    4 settle         what those left for the wallet is carried out, if the wallet is there
    5 close          WebSockets with code 1001 and a reason, then the connections and ports

A step that takes too long is given up, which loses nothing: what is committed stays, and is settled by the next start.
"""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from trade_engine.edge.rest.entrance import Entrance
from trade_engine.edge.ws.server import StreamServer
from trade_engine.http.server import ApiServer
from trade_engine.settlement.worker import SettlementWorker
from trade_engine.wallet.outage import TRANSPORT_ERRORS

log = structlog.get_logger(__name__)

#: Of the time for a stop, kept for what ends after the clients: tasks, pools, the lease, the embedded database.
_REST_SHARE: Final = 0.4
_LOOK_S: Final = 0.01


class Farewell:
    """The steps of one stop.

    Args:
        within_s: how long the whole stop may take.
        drain_s: how long to be not ready at least.
    """

    def __init__(self, within_s: float, drain_s: float) -> None:
        self._within_s = within_s
        self._drain_s = drain_s

    async def take(
        self,
        entrance: Entrance,
        servers: Sequence[ApiServer],
        streams: StreamServer,
        settlement: SettlementWorker,
    ) -> None:
        """Carry the steps out; everything else of the engine still runs meanwhile."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        until_s = began_s + self._within_s * (1 - _REST_SHARE)
        entrance.close("the engine stops")
        streams.stopping = True
        await asyncio.sleep(min(self._drain_s, until_s - began_s))
        drained = await _done(until_s, lambda: not _under_way(servers, streams))
        await _settle(until_s, settlement)
        connections = streams.connections
        await streams.stop()
        # Orders that were to end with their connection have ended.
        settled = await _settle(until_s, settlement)
        if not drained:
            for server in servers:
                server.cut_off()
        left_s = max(0.1, until_s - loop.time())
        await asyncio.gather(*(server.stop(left_s) for server in servers))
        log.info(
            "clients_told",
            seconds=round(loop.time() - began_s, 3),
            drained=drained,
            settled=settled,
            streams=connections,
        )


def _under_way(servers: Sequence[ApiServer], streams: StreamServer) -> int:
    return streams.under_way + sum(server.under_way for server in servers)


async def _done(until_s: float, is_done: Callable[[], bool]) -> bool:
    """Whether something came true in time."""
    loop = asyncio.get_running_loop()
    while not is_done():
        if loop.time() >= until_s:
            return False
        await asyncio.sleep(_LOOK_S)
    return True


async def _settle(until_s: float, settlement: SettlementWorker) -> bool:
    """Whether nothing is left to settle; not, if wallet or database are away."""
    with contextlib.suppress(TimeoutError, *TRANSPORT_ERRORS):
        async with asyncio.timeout_at(until_s):
            return await settlement.drain()
    return False
