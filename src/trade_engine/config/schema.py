"""Every option: its default, type, description and bounds (SPEC 12).  What is not here cannot be set."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from trade_engine.domain.patterns import whole

Port = Annotated[int, Meta(ge=0, le=65535)]
Count = Annotated[int, Meta(ge=1, le=1_000_000)]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]
PerSecond = Annotated[float, Meta(ge=0)]
WalletMode = Literal["in_process", "http", "memory"]
BookChoice = Literal["auto", "native", "reference"]
LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["json", "console"]
Decimal = Annotated[str, Meta(pattern=whole(r"(0|[1-9][0-9]*)(\.[0-9]{1,8})?"))]
SessionEnd = Annotated[str, Meta(pattern=whole(r"([01][0-9]|2[0-3]):[0-5][0-9]"))]


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of all sections: an unknown key is an error."""


class ServerSection(Section, frozen=True, kw_only=True):
    """server: where the API listens."""

    host: Annotated[str, Meta(description="address to listen on")] = "127.0.0.1"
    http_port: Annotated[Port, Meta(description="REST API; 0 picks a free port")] = 8080
    websocket_port: Annotated[Port, Meta(description="WebSocket (also at http_port); 0 picks a free port")] = 8081
    metrics_port: Annotated[Port, Meta(description="GET /metrics for Prometheus; 0 picks a free port")] = 9090
    admin_port: Annotated[
        Port | None,
        Meta(description="/api/v1/admin and the console only here; 0 picks a free one; default: http_port"),
    ] = None
    shutdown_timeout_s: Annotated[Seconds, Meta(description="how long a stop may take in all")] = 30
    drain_s: Annotated[
        float,
        Meta(ge=0, le=3_600, description="when it stops, not ready for so long at least, so that balancers turn away"),
    ] = 0
    request_timeout_s: Annotated[Seconds, Meta(description="longest a request may take")] = 60
    header_timeout_s: Annotated[Seconds, Meta(description="how long a request's headers may take to arrive")] = 10
    body_timeout_s: Annotated[Seconds, Meta(description="how long its body may take after that")] = 30
    write_timeout_s: Annotated[Seconds, Meta(description="how long a client may take none of an answer")] = 60
    max_header_bytes: Annotated[int, Meta(ge=1024, le=1_048_576, description="largest request headers")] = 32_768
    max_headers: Annotated[Count, Meta(description="most headers of a request")] = 100
    max_connections: Annotated[Count, Meta(description="open at a time in all, REST and WebSocket")] = 10_000
    address_connections: Annotated[Count, Meta(description="open at a time of one address")] = 500
    address_accepts_per_s: Annotated[float, Meta(ge=0, description="new ones of one address; 0: no limit")] = 100
    address_accepts_burst: Annotated[Count, Meta(description="of them at once")] = 500
    address_messages_per_s: Annotated[
        PerSecond | None, Meta(description="an address is read no faster; default: twice its limits; 0: no limit")
    ] = None
    max_body_bytes: Annotated[int, Meta(ge=1024, le=16_777_216, description="largest request body")] = 65_536
    cors_origins: Annotated[list[str], Meta(description="origins browsers may call from; * is any")] = []
    trusted_proxies: Annotated[list[str], Meta(description="proxies whose X-Forwarded-For is believed")] = []
    binance: Annotated[bool, Meta(description="the API that clients of Binance know, at /api/v3 and /sapi")] = True
    echo_route: Annotated[bool, Meta(description="POST /api/v1/echo, which benchmarks compare with")] = False


class WebSocketSection(Section, frozen=True, kw_only=True):
    """websocket: how often it speaks, and what one connection, user and address may have."""

    flush_ms: Annotated[float, Meta(ge=0, le=10_000, description="updates are apart at least; merged meanwhile")] = 10
    statistics_ms: Annotated[float, Meta(ge=0, le=60_000, description="the same for tickers and candles")] = 250
    buffer_bytes: Annotated[int, Meta(ge=1024, le=16_777_216, description="unread, before updates are merged")] = 65_536
    socket_bytes: Annotated[int, Meta(ge=4096, le=16_777_216, description="unread, kept by the kernel")] = 262_144
    private_bytes: Annotated[int, Meta(ge=1024, le=268_435_456, description="unread, before it is closed")] = 1_048_576
    stalled_s: Annotated[Seconds, Meta(description="reading nothing for so long closes the connection")] = 30
    ping_s: Annotated[Seconds, Meta(description="pings are apart")] = 20
    pong_s: Annotated[Seconds, Meta(description="how long a pong may take")] = 20
    max_subscriptions: Annotated[Count, Meta(description="of one connection")] = 100
    max_streams: Annotated[Count, Meta(description="the same, of clients of Binance")] = 1_024
    commands_per_s: Annotated[float, Meta(ge=0, description="of one connection; 0: no limit")] = 50
    commands_burst: Annotated[Count, Meta(description="of them at once")] = 200
    commands_at_once: Annotated[Count, Meta(description="of one connection under way")] = 64
    connections_per_user: Annotated[Count, Meta(description="open at a time")] = 20
    connections_per_address: Annotated[Count, Meta(description="open at a time")] = 200
    max_connections: Annotated[Count, Meta(description="open at a time, in all")] = 10_000


class DatabaseSection(Section, frozen=True, kw_only=True):
    """database: PostgreSQL 15 or newer; none given, the engine runs one of its own in its data directory."""

    url: Annotated[str | None, Meta(description="postgresql://user:password@host/name; empty: embedded")] = None
    url_file: Annotated[str | None, Meta(description="file that holds the url, instead of it")] = None
    host: Annotated[str | None, Meta(description="instead of the url, in parts: machine, or folder of a socket")] = None
    port: Annotated[Port | None, Meta(description="its port; default: 5432")] = None
    name: Annotated[str | None, Meta(description="name of the database; default: trade_engine")] = None
    user: Annotated[str | None, Meta(description="who logs in; default: trade_engine")] = None
    password: Annotated[str | None, Meta(description="the user's password, also beside a url without one")] = None
    password_file: Annotated[str | None, Meta(description="file that holds the password, instead of it")] = None
    direct_url: Annotated[str | None, Meta(description="the writer's, past any pooler; default: url")] = None
    direct_url_file: Annotated[str | None, Meta(description="file that holds the direct_url, instead of it")] = None
    max_open_conns: Annotated[Count, Meta(description="connections of the engine itself: admission, settlement")] = 12
    max_idle_conns: Annotated[
        int, Meta(ge=0, le=1_000_000, description="connections of each pool that are kept although nobody needs them")
    ] = 1
    conn_max_lifetime_s: Annotated[
        float, Meta(ge=0, le=604_800, description="a connection that has rested for so long is closed; 0: never")
    ] = 3_600
    log_queries: Annotated[bool, Meta(description="one line a statement; never its values")] = False
    wallet_conns: Annotated[Count, Meta(description="connections of the wallet in this process")] = 8
    history_conns: Annotated[Count, Meta(description="connections for what users read")] = 6
    history_timeout_s: Annotated[Seconds, Meta(description="longest that such reading may take")] = 5
    behind_pooler: Annotated[bool, Meta(description="url (or wallet.database_url) leads through PgBouncer")] = False
    commit_timeout_s: Annotated[Seconds, Meta(description="a commit's outcome counts as unknown after this")] = 4
    read_timeout_s: Annotated[Seconds, Meta(description="a look-up fails, and the database is away, after this")] = 2
    partitions_months: Annotated[int, Meta(ge=1, le=120, description="partitions of orders made ahead")] = 3
    partitions_days: Annotated[int, Meta(ge=1, le=3_650, description="of trades and journal; 7 is prudent")] = 30
    archive_after_months: Annotated[
        int, Meta(ge=0, le=1_200, description="older journal, trades and orders become files; 0: not by the engine")
    ] = 0
    archive_folder: Annotated[str | None, Meta(description="where; default: archive in the data directory")] = None
    maintenance_every_s: Annotated[
        float,
        Meta(ge=0, le=86_400, description="statistics refreshed, old client order ids forgotten; 0: not by the engine"),
    ] = 3600
    postgres_bin: Annotated[str | None, Meta(description="folder of postgres and initdb for the embedded one")] = None
    restart_give_up_s: Annotated[
        Seconds, Meta(description="the embedded one, when it dies, may take so long to come back; then the engine ends")
    ] = 60


class EngineSection(Section, frozen=True, kw_only=True):
    """engine: which of several engines on one database writes, and when it stands still."""

    lease_s: Annotated[
        float, Meta(ge=0.5, le=300, description="a writer without a sign of life for so long is taken over")
    ] = 5
    clock_jump_max_s: Annotated[
        float, Meta(ge=0.1, le=86_400, description="the machine's clock may be set by so much; else orders are refused")
    ] = 5


class RedisSection(Section, frozen=True, kw_only=True):
    """redis: what processes share (rate limits, what markets show); none given, each process counts by itself."""

    url: Annotated[
        str | None, Meta(description="redis://:password@host:6379/0, redis+sentinel://host,host/name; empty: not used")
    ] = None
    url_file: Annotated[str | None, Meta(description="file that holds the url, instead of it")] = None
    host: Annotated[str | None, Meta(description="instead of the url, in parts: the machine")] = None
    port: Annotated[Port | None, Meta(description="its port; default: 6379")] = None
    name: Annotated[str | None, Meta(description="number of the database; default: 0")] = None
    user: Annotated[str | None, Meta(description="who logs in; default: nobody by name")] = None
    password: Annotated[str | None, Meta(description="the password, also beside a url without one")] = None
    password_file: Annotated[str | None, Meta(description="file that holds the password, instead of it")] = None
    tls: Annotated[bool, Meta(description="in parts: speak TLS; in a url rediss:// says so")] = False
    tls_ca_file: Annotated[str | None, Meta(description="in parts: whom to trust; default: the system's")] = None
    key_prefix: Annotated[str, Meta(max_length=100, description="begins each key; each engine has its own")] = (
        "trade-engine:"
    )
    pool_size: Annotated[Count, Meta(description="connections at most, for rate limits")] = 100
    max_retries: Annotated[int, Meta(ge=0, le=10, description="repeats of a call within its time")] = 3
    timeout_ms: Annotated[
        int, Meta(ge=1, le=10_000, description="a slower Redis counts as away: the process goes on without it")
    ] = 50
    retry_every_s: Annotated[Seconds, Meta(description="between two looks for a Redis that went away")] = 1
    cache_every_ms: Annotated[
        int, Meta(ge=0, le=60_000, description="between two writes of a market's book, ticker, trades; 0: none")
    ] = 100
    cache_expire_s: Annotated[float, Meta(ge=1, le=86_400, description="after so long unwritten they are gone")] = 60
    cache_levels: Annotated[int, Meta(ge=1, le=1_000, description="levels a side that they show")] = 100
    cache_trades: Annotated[int, Meta(ge=1, le=500, description="trades that they show")] = 100


AmqpUrl = Annotated[str, Meta(pattern=r"^amqps?://.+")]
ExchangeName = Annotated[str, Meta(min_length=1, max_length=127, pattern=whole(r"[A-Za-z0-9_.:-]+"))]


class RabbitmqSection(Section, frozen=True, kw_only=True):
    """rabbitmq: events for other services; none given, nobody is told."""

    url: Annotated[AmqpUrl | None, Meta(description="amqp://user:password@host:5672/; empty: no events")] = None
    url_file: Annotated[str | None, Meta(description="file that holds the url, instead of it")] = None
    exchange_trade_events: Annotated[ExchangeName, Meta(description="topic exchange of events of trades")] = (
        "trade.events"
    )
    exchange_order_events: Annotated[ExchangeName, Meta(description="topic exchange of events of orders")] = (
        "order.events"
    )
    publisher_confirms: Annotated[
        int, Meta(ge=1, le=10_000, description="messages that may wait for their confirms at a time")
    ] = 1_000
    confirm_timeout_s: Annotated[Seconds, Meta(description="unconfirmed for so long, they are published again")] = 30
    retry_backoff_ms: Annotated[int, Meta(ge=1, le=3_600_000, description="first pause while RabbitMQ is away")] = 500
    retry_max_backoff_ms: Annotated[int, Meta(ge=1, le=3_600_000, description="longest pause")] = 30_000
    cross_check: Annotated[
        bool, Meta(description="the wallet hears of trades and tells of each that is not in its ledger within 60 s")
    ] = True


class WebhooksSection(Section, frozen=True, kw_only=True):
    """webhooks: events sent to endpoints that operators registered (`trade-engine webhooks`); needs rabbitmq.url."""

    enabled: Annotated[bool, Meta(description="`trade-engine serve`: send them in this process, too")] = False
    private_networks: Annotated[
        list[str], Meta(description="such as 10.1.2.0/24: endpoints may be there, also with http://; else none")
    ] = []
    timeout_s: Annotated[float, Meta(gt=0, le=60, description="longest that one attempt may take, all of it")] = 5
    tries: Annotated[int, Meta(ge=1, le=100, description="of an event; then it is dead, and its endpoint paused")] = 20
    first_pause_s: Annotated[Seconds, Meta(description="after the first failure; doubled after each further one")] = 5
    longest_pause_s: Annotated[Seconds, Meta(description="longest pause; as by default, the tries take 24 h")] = 9_520
    queue: Annotated[Count, Meta(description="events that may wait for an endpoint; then the oldest is dropped")] = (
        100_000
    )
    lanes: Annotated[int, Meta(ge=1, le=64, description="markets of an endpoint at a time")] = 4
    host: Annotated[str, Meta(description="`serve --role notify`: address of its health and metrics")] = "127.0.0.1"
    port: Annotated[Port, Meta(description="`serve --role notify`: their port; 0 picks a free one")] = 8083


class WalletSection(Section, frozen=True, kw_only=True):
    """wallet: the ledger, in this process, as a service of its own, or a fake that forgets."""

    mode: Annotated[WalletMode, Meta(description="in_process, http (a wallet service), or memory (a fake)")] = (
        "in_process"
    )
    url: Annotated[str | None, Meta(description="mode http: the service, as http://127.0.0.1:8082")] = None
    url_file: Annotated[str | None, Meta(description="file that holds the url, instead of it")] = None
    any_asset: Annotated[bool, Meta(description="deposits by operators: also of assets that no market has")] = False
    token: Annotated[str | None, Meta(description="mode http: service token; default: made with auth's secret")] = None
    token_file: Annotated[str | None, Meta(description="file that holds the token, instead of it")] = None
    reserve_timeout_ms: Annotated[int, Meta(ge=10, le=60_000, description="limit of a reserve call")] = 500
    timeout_ms: Annotated[int, Meta(ge=10, le=60_000, description="limit of every other call")] = 5_000
    retries: Annotated[int, Meta(ge=0, le=10, description="mode http: repeats of calls other than reserve")] = 3
    retry_backoff_ms: Annotated[int, Meta(ge=1, le=60_000, description="first pause between them")] = 100
    max_connections: Annotated[Count, Meta(description="mode http: connections kept")] = 16
    breaker_failures: Annotated[Count, Meta(description="more failures in a row open the breaker")] = 5
    breaker_within_s: Annotated[Seconds, Meta(description="failures in a row count within this")] = 60
    breaker_open_s: Annotated[Seconds, Meta(description="how long it stays open")] = 30
    breaker_trial_calls: Annotated[Count, Meta(description="calls that must succeed to close it")] = 3
    host: Annotated[str, Meta(description="`trade-engine wallet`: address to listen on")] = "127.0.0.1"
    port: Annotated[Port, Meta(description="`trade-engine wallet`: port; 0 picks a free one")] = 8082
    database_url: Annotated[
        str | None, Meta(description="`trade-engine wallet`: its database; default: the engine's")
    ] = None
    database_url_file: Annotated[str | None, Meta(description="file that holds the database_url")] = None


class MarketSection(Section, frozen=True, kw_only=True):
    """matching.markets: one market; sizes and amounts as decimal strings, fees as fractions (0.001 is 0.1 %)."""

    symbol: Annotated[str, Meta(pattern=whole("[A-Z0-9]{1,15}/[A-Z0-9]{1,15}"), description="BASE/QUOTE")]
    tick_size: Annotated[Decimal, Meta(description="prices are whole ticks")]
    lot_size: Annotated[Decimal, Meta(description="quantities are whole lots")]
    min_quantity: Annotated[Decimal | None, Meta(description="smallest order; default: a lot")] = None
    max_quantity: Annotated[Decimal, Meta(description="largest order")] = "90000000000"
    min_notional: Annotated[Decimal, Meta(description="smallest price x quantity")] = "0"
    price_band: Annotated[Decimal, Meta(description="farthest a price may be from the last trade; 0: off")] = "0"
    max_slippage: Annotated[Decimal, Meta(description="farthest a market order walks; 0: off")] = "0.05"
    max_open_orders: Annotated[int, Meta(ge=0, description="a user's open orders here; 0: no limit")] = 1_000
    max_fills: Annotated[int, Meta(ge=0, description="fills of one command and its stops; 0: no limit")] = 1_000
    min_display_share: Annotated[Decimal, Meta(description="least share an iceberg shows; 0: off")] = "0.05"
    maker_fee: Annotated[Decimal, Meta(description="fee of the resting side")] = "0.0005"
    taker_fee: Annotated[Decimal, Meta(description="fee of the side that takes")] = "0.001"
    fee_asset: Annotated[
        Literal["QUOTE", "RECEIVED"], Meta(description="QUOTE or RECEIVED: what the buyer pays in")
    ] = "QUOTE"


class MatchingSection(Section, frozen=True, kw_only=True):
    """matching: the core and its markets."""

    book: Annotated[BookChoice, Meta(description="auto, native or reference: which core")] = "auto"
    markets: Annotated[list[MarketSection] | None, Meta(description="default: ten markets against USDT")] = None
    session_end: Annotated[SessionEnd, Meta(description="when DAY orders end, HH:MM in UTC")] = "00:00"
    longest_life_days: Annotated[
        int, Meta(ge=1, le=366, description="no order lives longer; changed, it counts for orders placed from then on")
    ] = 180
    queue: Annotated[Count, Meta(description="requests that may wait; one more gets 503")] = 10_000
    batch_commands: Annotated[Count, Meta(description="commands after which a batch closes")] = 256
    batch_events: Annotated[Count, Meta(description="events after which a batch closes")] = 5_000


class SettlementSection(Section, frozen=True, kw_only=True):
    """settlement: how trades reach the ledger (SPEC 6.2)."""

    worker_pool_size: Annotated[int, Meta(ge=1, le=64, description="workers")] = 1
    batch_size: Annotated[int, Meta(ge=1, le=1_000, description="instructions a wallet call")] = 64
    retry_max_attempts: Annotated[int, Meta(ge=1, le=100, description="refusals before a dead letter")] = 3
    retry_backoff_ms: Annotated[int, Meta(ge=1, le=3_600_000, description="first pause between attempts")] = 1_000
    retry_max_backoff_ms: Annotated[int, Meta(ge=1, le=3_600_000, description="longest pause")] = 30_000
    reconcile_every_s: Annotated[float, Meta(ge=0, le=604_800, description="how often; 0: only at start")] = 3_600


HttpUrl = Annotated[str, Meta(pattern=r"^https?://.+")]
HexKeys = Annotated[str, Meta(pattern=whole(r"[0-9a-fA-F]{64}(\s+[0-9a-fA-F]{64})*"))]


class AuthSection(Section, frozen=True, kw_only=True):
    """auth: whose tokens are good."""

    jwt_secret: Annotated[str | None, Meta(description="HS256 secret, 32 bytes or more; default: made at start")] = None
    jwt_secret_file: Annotated[str | None, Meta(description="file that holds the secret, instead of it")] = None
    jwt_issuer: Annotated[str | None, Meta(description="required iss claim; empty: any")] = None
    jwt_audience: Annotated[str | None, Meta(description="required aud claim; empty: any")] = None
    jwks_file: Annotated[str | None, Meta(description="JWK Set with more keys; read again when it changes")] = None
    jwks_url: Annotated[HttpUrl | None, Meta(description="JWK Set with more public keys, fetched again and again")] = (
        None
    )
    jwks_refresh_s: Annotated[Seconds, Meta(description="how often jwks_url is fetched")] = 300
    encryption_key: Annotated[
        HexKeys | None,
        Meta(description="encrypts API keys: 32 bytes as hex; older ones after it; default: made at start"),
    ] = None
    encryption_key_file: Annotated[str | None, Meta(description="file that holds the encryption_key")] = None


class RateLimitSection(Section, frozen=True, kw_only=True):
    """rate_limit: requests a second by user (orders, queries) or address (public); 0 is no limit."""

    orders_per_s: Annotated[float, Meta(ge=0, description="order requests of a user")] = 10
    orders_burst: Annotated[Count, Meta(description="of them at once")] = 100
    queries_per_s: Annotated[float, Meta(ge=0, description="other requests of a user")] = 50
    queries_burst: Annotated[Count, Meta(description="of them at once")] = 200
    public_per_s: Annotated[float, Meta(ge=0, description="requests of an address without a token")] = 100
    public_burst: Annotated[Count, Meta(description="of them at once")] = 500
    logins_per_s: Annotated[
        PerSecond | None, Meta(description="logins of an address that are not known to be good; default: as public")
    ] = None
    logins_burst: Annotated[Count | None, Meta(description="of them at once; default: as public")] = None
    queries_at_once: Annotated[Count, Meta(description="requests of a user that read the database, under way")] = 4
    public_at_once: Annotated[Count, Meta(description="the same of an address, without a token")] = 16
    address_per_s: Annotated[float, Meta(ge=0, description="all requests with a token of one address")] = 200
    address_burst: Annotated[Count, Meta(description="of them at once")] = 1_000
    weight_per_minute: Annotated[
        int, Meta(ge=0, le=1_000_000, description="weight of an address's requests at /api/v3 and /sapi")
    ] = 6_000


class MonitoringSection(Section, frozen=True, kw_only=True):
    """monitoring: what can be watched."""

    prometheus_enabled: Annotated[bool, Meta(description="serve GET /metrics on server.metrics_port")] = True
    jaeger_enabled: Annotated[bool, Meta(description="send traces to Jaeger, or any collector of OTLP")] = False
    jaeger_endpoint: Annotated[HttpUrl, Meta(description="where it takes OTLP over HTTP")] = (
        "http://127.0.0.1:4318/v1/traces"
    )
    trace_ratio: Annotated[float, Meta(ge=0, le=1, description="share of requests that is traced")] = 0.01


class PagesSection(Section, frozen=True, kw_only=True):
    """pages: what browsers are shown."""

    enabled: Annotated[bool, Meta(description="the page to trade on, at /trade")] = True
    console: Annotated[bool, Meta(description="the operator's console, at /console")] = False


class LoggingSection(Section, frozen=True, kw_only=True):
    """logging: structured lines on standard error."""

    level: Annotated[LogLevel, Meta(description="debug, info, warning or error: least level shown")] = "info"
    format: Annotated[LogFormat, Meta(description="json, or console for people")] = "json"
    output: Annotated[str, Meta(description="stderr, stdout, or a file, which is opened again at each SIGHUP")] = (
        "stderr"
    )
    access: Annotated[
        bool | None, Meta(description="one line a request; default: with format json, and not with console")
    ] = None
    repeat_s: Annotated[
        float, Meta(ge=0, le=86_400, description="equal warnings and errors are told of once in so long; 0: all are")
    ] = 10


class Config(Section, frozen=True, kw_only=True):
    """All options."""

    environment: Annotated[str, Meta(description="name of the installation, shown in logs")] = "development"
    server: ServerSection = ServerSection()
    websocket: WebSocketSection = WebSocketSection()
    database: DatabaseSection = DatabaseSection()
    redis: RedisSection = RedisSection()
    rabbitmq: RabbitmqSection = RabbitmqSection()
    webhooks: WebhooksSection = WebhooksSection()
    wallet: WalletSection = WalletSection()
    engine: EngineSection = EngineSection()
    matching: MatchingSection = MatchingSection()
    settlement: SettlementSection = SettlementSection()
    auth: AuthSection = AuthSection()
    rate_limit: RateLimitSection = RateLimitSection()
    pages: PagesSection = PagesSection()
    logging: LoggingSection = LoggingSection()
    monitoring: MonitoringSection = MonitoringSection()


def section_of(name: str) -> type[Section]:
    """The section of that name; all options together if there is none."""
    kind = Config.__annotations__.get(name)
    return kind if isinstance(kind, type) and issubclass(kind, Section) else Config
