"""Who may connect, and how fast an address may speak: one account for all servers that share it.

    accept -> too many in all, of the address, or too fast? -> a slot, or one in reserve for probes, or a refusal
    read   -> every message is charged to its address        -> who owes is read on later

An address that has used up its budget is not refused: it is read more slowly, so it costs what the budget allows and
nobody else notices.  A trusted proxy speaks for many and has no budget; the limits of requests count those it names.
"""

import ipaddress
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import msgspec

from trade_engine.http.addresses import network, read_address

#: Who owes waits at least so long: to look again is work, too.
PAUSE_MIN_S: Final = 0.02
#: Nobody waits longer at a time; who still owes then waits again.
_PAUSE_MAX_S: Final = 1.0
#: Sums of fractions are not exact.
_GRAIN_S: Final = 1e-6
#: Entries looked at for removal on each that is new.
_SWEEP: Final = 2


class Pace(msgspec.Struct, frozen=True):
    """So many a second in the long run, and ``burst`` at once; 0 a second is no limit."""

    per_s: float
    burst: float


class ConnectionSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How many connections, and how much of each address."""

    #: Open at a time, in all.
    connections: int = 10_000
    #: Of one address.
    address_connections: int = 500
    #: New ones of one address.
    address_accepts: Pace = Pace(100, 500)
    #: Messages of one address: requests, and what costs as much.
    address_messages: Pace = Pace(0, 1)
    #: Beside all these, for health probes only; of one address; and new ones of it.
    reserve: int = 16
    address_reserve: int = 4
    reserve_accepts: Pace = Pace(10, 20)
    #: Addresses or networks that speak for others.
    trusted_proxies: tuple[str, ...] = ()
    #: Addresses remembered; beyond it the longest unseen is forgotten.
    max_addresses: int = 100_000


class NoPlace(NamedTuple):
    """Why a connection is not taken."""

    status: int


#: Of the server, and of the address.
FULL: Final = NoPlace(503)
TOO_MANY: Final = NoPlace(429)


class Paces:
    """How far each address is ahead of its pace (the generic cell rate algorithm, as a debt)."""

    def __init__(self, pace: Pace, max_addresses: int, clock: Callable[[], float]) -> None:
        self.set_pace(pace)
        self._max = max_addresses
        self._clock = clock
        self._paid_at: dict[str, float] = {}

    def set_pace(self, pace: Pace) -> None:
        """Have another pace from now on; what is owed stays owed."""
        self._interval_s = 1 / pace.per_s if pace.per_s else 0.0
        self._room_s = pace.burst * self._interval_s

    def __len__(self) -> int:
        """Addresses remembered."""
        return len(self._paid_at)

    def owed_s(self, address: str) -> float:
        """Seconds until an address is within its pace again."""
        if not self._interval_s:
            return 0.0
        owed_s = self._paid_at.get(address, 0.0) - self._clock() - self._room_s
        return owed_s if owed_s > _GRAIN_S else 0.0

    def charge(self, address: str, cost: float) -> None:
        """Count ``cost`` to an address, whatever it owes."""
        if not self._interval_s:
            return
        now = self._clock()
        paid_at = max(now, self._paid_at.pop(address, 0.0)) + cost * self._interval_s
        self._paid_at[address] = paid_at
        for _ in range(min(_SWEEP, len(self._paid_at))):
            oldest = next(iter(self._paid_at))
            if self._paid_at[oldest] > now and len(self._paid_at) <= self._max:
                return
            del self._paid_at[oldest]


class Slot:
    """One connection's place; ``release`` it when the connection is gone."""

    __slots__ = ("_connections", "_counted", "_speaks_for", "refusal")

    def __init__(self, connections: "Connections", counted: str | None, refusal: NoPlace | None = None) -> None:
        self._connections: Connections | None = connections
        self._counted = self._speaks_for = counted
        #: Set: the place is one in reserve, and whoever does not ask for health is told this.
        self.refusal = refusal

    def speaks_for(self, address: str) -> None:
        """Charge this address from now on: the one that a proxy has named."""
        self._speaks_for = address

    def charge(self, cost: float) -> None:
        """Count what was read."""
        if self._connections is not None and self._speaks_for is not None:
            self._connections.messages.charge(self._speaks_for, cost)

    def wait_s(self) -> float:
        """How long not to read on; 0: go on."""
        if self._connections is None or self._speaks_for is None:
            return 0.0
        owed_s = self._connections.messages.owed_s(self._speaks_for)
        return min(max(owed_s, PAUSE_MIN_S), _PAUSE_MAX_S) if owed_s else 0.0

    def refused(self) -> None:
        """Count that whoever has this place in reserve was told its refusal."""
        if self._connections is not None:
            self._connections.refused += 1

    def release(self) -> None:
        """Give the place back; again, nothing."""
        connections, self._connections = self._connections, None
        if connections is not None:
            connections.released(self._counted, in_reserve=self.refusal is not None)


class Connections:
    """The places of one or more servers."""

    def __init__(self, settings: ConnectionSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._trusted = _networks(settings.trusted_proxies)
        self._accepts = Paces(settings.address_accepts, settings.max_addresses, clock)
        self._reserve_accepts = Paces(settings.reserve_accepts, settings.max_addresses, clock)
        self.messages = Paces(settings.address_messages, settings.max_addresses, clock)
        self._open = self._reserved = 0
        self._by_address: Counter[str] = Counter()
        self._reserved_by_address: Counter[str] = Counter()
        #: Connections that got no place, or one in reserve without asking for health.
        self.refused = 0

    @property
    def open(self) -> int:
        """Connections that are there now, those in reserve not counted."""
        return self._open

    def admit(self, peer: object) -> Slot | NoPlace:
        """A place for a connection from ``peer`` (as ``accept`` gives it), or why there is none."""
        address = self._counted(peer)
        refusal = self._refusal(address)
        if refusal is None:
            self._open += 1
            if address is not None:
                self._by_address[address] += 1
                self._accepts.charge(address, 1)
            return Slot(self, address)
        if self._room_in_reserve(address):
            self._reserved += 1
            if address is not None:
                self._reserved_by_address[address] += 1
                self._reserve_accepts.charge(address, 1)
            return Slot(self, address, refusal)
        self.refused += 1
        return refusal

    def released(self, address: str | None, *, in_reserve: bool) -> None:
        """A connection is gone."""
        if in_reserve:
            self._reserved -= 1
        else:
            self._open -= 1
        counter = self._reserved_by_address if in_reserve else self._by_address
        if address is not None:
            counter[address] -= 1
            if counter[address] <= 0:
                del counter[address]

    def _refusal(self, address: str | None) -> NoPlace | None:
        if address is not None and (
            self._by_address[address] >= self._settings.address_connections or self._accepts.owed_s(address)
        ):
            return TOO_MANY
        return FULL if self._open >= self._settings.connections else None

    def _room_in_reserve(self, address: str | None) -> bool:
        if address is not None and (
            self._reserved_by_address[address] >= self._settings.address_reserve
            or self._reserve_accepts.owed_s(address)
        ):
            return False
        return self._reserved < self._settings.reserve

    def _counted(self, peer: object) -> str | None:
        """What a peer counts as; None: it is not limited by address."""
        if not isinstance(peer, tuple) or not peer:
            return None
        host = str(peer[0])
        address = read_address(host)
        if self._trusted is None or (address is not None and any(address in trusted for trusted in self._trusted)):
            return None
        return network(host)


def _networks(
    proxies: Sequence[str],
) -> list[ipaddress.IPv4Network | ipaddress.IPv6Network] | None:
    """The networks of proxies; None: all are trusted."""
    if "*" in proxies:
        return None
    found = []
    for proxy in proxies:
        try:
            found.append(ipaddress.ip_network(proxy, strict=False))
        except ValueError:
            continue
    return found
