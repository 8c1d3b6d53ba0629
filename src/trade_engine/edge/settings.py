"""What can be set about the API: plain values, handed in; nothing here reads files or the environment."""

from typing import Final

import msgspec

#: Route classes, each with its own limit.
ORDERS: Final = "orders"
QUERIES: Final = "queries"
PUBLIC: Final = "public"
#: The weight of all requests of an address to a face that weighs them, with or without a login.
WEIGHT: Final = "weight"
#: Logins that are not known to be good, by address.
LOGINS: Final = "logins"
#: The limit that all requests of an address with good tokens share, whoever they are.
ADDRESS: Final = "address"


class RateLimit(msgspec.Struct, frozen=True):
    """So many requests a second in the long run, and ``burst`` at once; a rate of 0 is "no limit"."""

    rate_per_s: float
    burst: int


class LimitSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Rate limits: orders and queries count by user, public and logins by address.

    Whatever counts by user counts by ``address`` as well, so that many users of one address are bounded together.
    """

    orders: RateLimit = RateLimit(10, 100)
    queries: RateLimit = RateLimit(50, 200)
    public: RateLimit = RateLimit(100, 500)
    logins: RateLimit = RateLimit(100, 500)
    address: RateLimit = RateLimit(200, 1_000)
    #: A bucket of a minute: whoever stays below the burst in every minute is never refused.
    weight: RateLimit = RateLimit(100, 6_000)
    #: Callers remembered a limit; beyond it the longest unseen is forgotten.
    max_callers: int = 100_000

    def by_name(self) -> dict[str, RateLimit]:
        """The limits by their names: the route classes', and the address's."""
        return {
            ORDERS: self.orders, QUERIES: self.queries, PUBLIC: self.public, LOGINS: self.logins,
            ADDRESS: self.address, WEIGHT: self.weight,
        }  # fmt: skip


class ApiSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How the API answers."""

    version: str = "0.1.0"
    service: str = "trade-engine"
    max_body_bytes: int = 64 * 1024
    #: Longest a request may take, reading its body included.
    timeout_s: float = 60.0
    #: What a 503 tells the caller to wait.
    retry_after_s: int = 1
    #: Origins that browsers may call from; ``"*"`` is any, empty is none.
    cors_origins: tuple[str, ...] = ()
    #: Requests of a user, or without one of an address, that read the database and are under way.
    queries_at_once: int = 4
    public_at_once: int = 16
    #: There is a page to trade on.
    pages: bool = False
    #: Serves the face that clients of Binance know.
    binance: bool = True
    #: What that face says of its limits; rates of 0 are not spoken of.
    limits: LimitSettings = LimitSettings()
    #: Deposits of assets that no market has are taken.
    any_asset: bool = False
    #: Mounts ``POST /api/v1/echo``, which benchmarks compare orders with.
    echo_route: bool = False


class VerificationKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key that tokens may be signed with, and the one algorithm it is for."""

    key: str
    algorithm: str = "HS256"
    #: The token header's ``kid``; a key without one is tried for every token.
    key_id: str | None = None


class TokenSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Which tokens are good."""

    keys: tuple[VerificationKey, ...]
    issuer: str | None = None
    audience: str | None = None
    leeway_s: float = 0.0
    #: More keys come later, from a key set.
    rotates: bool = False
    #: Verified tokens remembered.
    cache_size: int = 10_000


class StreamSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How the WebSocket serves, and how much it lets one connection, user and address have."""

    #: Milliseconds that updates are apart at least; what happens meanwhile is merged.
    flush_ms: float = 10.0
    #: The same for tickers and running candles.
    statistics_ms: float = 250.0
    #: Balances: how long a burst is gathered, and how often they are looked at without a cause.
    balances_pause_ms: float = 50.0
    balances_every_s: float = 10.0
    #: What the kernel may keep unread; less than a few segments of loopback (64 KiB) would wait for late ACKs.
    socket_bytes: int = 256 * 1024
    #: Bytes that may wait beside that before market data is merged, and before the connection is closed.
    buffer_bytes: int = 64 * 1024
    private_bytes: int = 1024 * 1024
    #: How long a connection may read nothing while something waits.
    stalled_s: float = 30.0
    ping_s: float = 20.0
    pong_s: float = 20.0
    max_message_bytes: int = 64 * 1024
    max_subscriptions: int = 100
    #: The same for streams of the face that clients of Binance know.
    max_streams: int = 1_024
    commands_per_s: float = 50.0
    commands_burst: int = 200
    commands_at_once: int = 64
    connections_per_user: int = 20
    connections_per_address: int = 200
    max_connections: int = 10_000
