"""What can be set about an HTTP server: plain values, handed in; nothing here reads files or the environment."""

import msgspec


class ServerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where and how the HTTP server listens."""

    host: str = "127.0.0.1"
    port: int = 8080
    #: The option that says the port, for messages.
    name: str = "server.http_port"
    backlog: int = 2048
    keep_alive_s: int = 75
    #: How long a request's headers, and then its body, may take to arrive.
    header_timeout_s: float = 10.0
    body_timeout_s: float = 30.0
    #: How long a client may take none of an answer.
    write_timeout_s: float = 60.0
    max_header_bytes: int = 32 * 1024
    max_headers: int = 100
    #: What a connection in reserve may ask for, and how long it may take.
    probe_paths: frozenset[str] = frozenset()
    probe_timeout_s: float = 2.0
    #: How long running requests may take to end when the server stops.
    shutdown_timeout_s: int = 30
    #: Addresses or networks of proxies whose X-Forwarded-For is believed.
    trusted_proxies: tuple[str, ...] = ()
