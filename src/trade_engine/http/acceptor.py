"""Takes connections off a listening socket: a few a turn of the loop, each with a place, the others refused unread.

A server of the loop's own accepts all that wait in one turn and makes a transport of each; one address that connects as
fast as it can would hold up everybody.  Here a refusal is one short write on the bare socket.
"""

import asyncio
import contextlib
import errno
import socket
from collections.abc import Callable
from typing import Final

import structlog

from trade_engine.http.connections import Connections, NoPlace, Slot

log = structlog.get_logger(__name__)

_A_TURN: Final = 16
#: How long nobody is let in when the process has no file descriptor left.
_PAUSE_S: Final = 0.2
_SAY_EVERY_S: Final = 10.0
_OUT_OF: Final = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))
_NOBODY: Final = (BlockingIOError, InterruptedError, ConnectionAbortedError)

CLOSE: Final = "HTTP/1.1 {}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
REFUSALS: Final = {
    503: CLOSE.format("503 Service Unavailable\r\nretry-after: 1").encode(),
    429: CLOSE.format("429 Too Many Requests\r\nretry-after: 1").encode(),
}


class Acceptor:
    """Accepts on a bound socket from when it is made until ``close``.

    Args:
        listening: bound.
        make: the protocol of a connection that has got a place.
    """

    def __init__(
        self,
        listening: socket.socket,
        backlog: int,
        connections: Connections,
        make: Callable[[Slot], asyncio.Protocol],
    ) -> None:
        self._listening = listening
        self._connections = connections
        self._make = make
        self._loop = asyncio.get_running_loop()
        self._beginning: set[asyncio.Task[None]] = set()
        self._again: asyncio.TimerHandle | None = None
        self._said_at = -_SAY_EVERY_S
        listening.setblocking(False)
        listening.listen(backlog)
        self._loop.add_reader(listening, self._ready)

    def close(self) -> None:
        """Take no more."""
        self._loop.remove_reader(self._listening)
        if self._again is not None:
            self._again.cancel()

    async def wait_closed(self) -> None:
        """Wait for those that have just been taken."""
        if self._beginning:
            await asyncio.wait(self._beginning)

    def _ready(self) -> None:
        for _ in range(_A_TURN):
            try:
                taken, peer = self._listening.accept()
            except _NOBODY:
                return
            except OSError as error:
                self._pause(error)
                return
            place = self._connections.admit(peer)
            if isinstance(place, Slot):
                task = self._loop.create_task(self._begin(taken, place))
                self._beginning.add(task)
                task.add_done_callback(self._beginning.discard)
            else:
                _refuse(taken, place)

    def _pause(self, error: OSError) -> None:
        """Look again in a while: those who wait in the kernel's queue are still there then."""
        if error.errno not in _OUT_OF:
            return
        if self._loop.time() - self._said_at >= _SAY_EVERY_S:
            self._said_at = self._loop.time()
            log.error("connection_not_taken", error=str(error))
        self._loop.remove_reader(self._listening)
        self._again = self._loop.call_later(_PAUSE_S, self._loop.add_reader, self._listening, self._ready)

    async def _begin(self, taken: socket.socket, place: Slot) -> None:
        try:
            taken.setblocking(False)
            with contextlib.suppress(OSError):
                taken.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await self._loop.connect_accepted_socket(lambda: self._make(place), taken)
        except BaseException as error:
            place.release()
            taken.close()
            # The client has gone already.
            if not isinstance(error, OSError):
                raise


def _refuse(taken: socket.socket, why: NoPlace) -> None:
    with contextlib.suppress(OSError):
        taken.setblocking(False)
        taken.send(REFUSALS[why.status])
    taken.close()
