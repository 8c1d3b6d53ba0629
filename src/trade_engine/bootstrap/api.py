"""Wiring of the API: its logins, limits and servers, out of the configuration, for the roles that start them."""

import contextlib
import resource
import sys
from pathlib import Path
from typing import Final

import msgspec
from starlette.types import ASGIApp, Receive, Scope, Send

from trade_engine import __version__
from trade_engine.bootstrap.database import Run
from trade_engine.bootstrap.keys import encryption_keys
from trade_engine.config import Config, ConfigError
from trade_engine.edge.auth.authenticator import Authenticator
from trade_engine.edge.auth.key_ring import KeyRing
from trade_engine.edge.auth.keysets import KeySetFile, KeySetUrl
from trade_engine.edge.auth.tokens import TokenVerifier
from trade_engine.edge.binance.app import BINANCE_PATHS, create_binance_app
from trade_engine.edge.binance.ws.face import BinanceFace
from trade_engine.edge.pages.routes import page_routes
from trade_engine.edge.rest.app import create_app, create_operators_app
from trade_engine.edge.rest.system import PROBES
from trade_engine.edge.services import Services
from trade_engine.edge.settings import (
    ApiSettings,
    LimitSettings,
    RateLimit,
    StreamSettings,
    TokenSettings,
    VerificationKey,
)
from trade_engine.edge.ws.server import StreamServer
from trade_engine.http.addresses import ClientAddress
from trade_engine.http.connections import ConnectionSettings, Pace
from trade_engine.http.settings import ServerSettings
from trade_engine.ops.access import AccessLines
from trade_engine.storage.api_keys import ApiKeyStore
from trade_engine.storage.types import Pool

#: The metrics have places of their own: whoever takes all of the API's takes none of those that watch it.
OF_METRICS: Final = ConnectionSettings(connections=200, address_connections=50, address_messages=Pace(10, 50))
#: And so has server.admin_port, for operators.
OF_OPERATORS: Final = ConnectionSettings(connections=200, address_connections=50, address_messages=Pace(200, 200))

#: An address may send so many times what its rate limits let through: what is refused costs, too.
_AHEAD: Final = 2
#: And so many seconds' worth of it at once.
_BURST_S: Final = 0.5
#: What pools, files, listening sockets and places in reserve may need; and what is left to connections at least.
_DESCRIPTORS_ELSEWHERE: Final = 160
_DESCRIPTORS_MIN: Final = 16


def make_verifier(config: Config, secret: str) -> TokenVerifier:
    """What checks bearer tokens: for now those signed with the shared secret."""
    auth = config.auth
    return TokenVerifier(
        TokenSettings(keys=(VerificationKey(key=secret),), issuer=auth.jwt_issuer, audience=auth.jwt_audience)
    )


def start_authenticator(config: Config, secret: str, data_dir: Path, pool: Pool, run: Run) -> Authenticator:
    """What tells who calls, by token or by API key; what keeps it up to date runs from now on.

    Args:
        config: all options.
        secret: what tokens of this engine are signed with.
        data_dir: has the key that secrets of API keys are encrypted with.
        pool: of the engine's database.
        run: runs a task.
    """
    verifier = make_verifier(config, secret)
    key_set = make_key_set(config, verifier)
    if key_set is not None:
        run("key set", key_set.keep_running)
    ring = KeyRing(ApiKeyStore(pool, encryption_keys(config, data_dir)))
    run("API keys", ring.keep_running)
    return Authenticator(verifier, ring)


def make_key_set(config: Config, verifier: TokenVerifier) -> KeySetFile | KeySetUrl | None:
    """The other keys that ``verifier`` is to take, if any are configured; to be kept running.

    Raises:
        ConfigError: the file cannot be read, or is no key set.
    """
    auth = config.auth
    if auth.jwks_file is not None:
        key_set = KeySetFile(Path(auth.jwks_file), verifier)
        try:
            key_set.load()
        except (OSError, ValueError) as error:
            raise ConfigError(f"auth.jwks_file: {auth.jwks_file!r}: {error}") from error
        return key_set
    return None if auth.jwks_url is None else KeySetUrl(auth.jwks_url, verifier, auth.jwks_refresh_s)


def api_settings(config: Config) -> ApiSettings:
    """What REST keeps to."""
    server = config.server
    return ApiSettings(
        version=__version__,
        max_body_bytes=server.max_body_bytes,
        timeout_s=server.request_timeout_s,
        cors_origins=tuple(server.cors_origins),
        echo_route=server.echo_route,
        binance=server.binance,
        pages=config.pages.enabled,
        any_asset=config.wallet.any_asset,
        limits=limit_settings(config),
        queries_at_once=config.rate_limit.queries_at_once,
        public_at_once=config.rate_limit.public_at_once,
    )


def start_access_log(config: Config, stack: contextlib.AsyncExitStack) -> AccessLines | None:
    """What writes a line a request, if the configuration wants it; what waits in it is written when ``stack`` ends."""
    options = config.logging
    if not (options.format == "json" if options.access is None else options.access):
        return None
    lines = AccessLines()
    stack.callback(lines.flush)
    return lines


def limit_settings(config: Config) -> LimitSettings:
    """How often callers may come."""
    rates = config.rate_limit
    return LimitSettings(
        orders=RateLimit(rates.orders_per_s, rates.orders_burst),
        queries=RateLimit(rates.queries_per_s, rates.queries_burst),
        public=RateLimit(rates.public_per_s, rates.public_burst),
        logins=RateLimit(
            rates.public_per_s if rates.logins_per_s is None else rates.logins_per_s,
            rates.public_burst if rates.logins_burst is None else rates.logins_burst,
        ),
        address=RateLimit(rates.address_per_s, rates.address_burst),
        weight=RateLimit(rates.weight_per_minute / 60, max(1, rates.weight_per_minute)),
    )


def beside(paths: frozenset[str], first: ASGIApp, rest: ASGIApp) -> ASGIApp:
    """An application that leads some paths to one and everything else to another."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await (first if scope.get("path") in paths else rest)(scope, receive, send)

    return app


def beside_prefixes(prefixes: tuple[str, ...], first: ASGIApp, rest: ASGIApp) -> ASGIApp:
    """An application that leads paths that begin so to one and everything else to another."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and f"{scope['path']}/".startswith(prefixes):
            await first(scope, receive, send)
        else:
            await rest(scope, receive, send)

    return app


def make_apps(config: Config, services: Services) -> tuple[ASGIApp, ASGIApp]:
    """What everybody is answered by, and what is at the operators' port, if they have one of their own."""
    pages, apart = config.pages, config.server.admin_port is not None
    shown = page_routes(trading=pages.enabled, console=pages.console and not apart)
    app = create_app(services, shown, operators=not apart)
    if services.settings.binance:
        app = beside_prefixes(BINANCE_PATHS, create_binance_app(services), app)
    return app, create_operators_app(services, page_routes(trading=False, console=pages.console))


def connection_settings(config: Config) -> ConnectionSettings:
    """How many connections the API has, and how fast an address is read."""
    server, rates = config.server, config.rate_limit
    messages_per_s = server.address_messages_per_s
    if messages_per_s is None:
        limited = rates.public_per_s > 0 and rates.address_per_s > 0
        messages_per_s = _AHEAD * (rates.public_per_s + rates.address_per_s) if limited else 0
    return ConnectionSettings(
        connections=min(server.max_connections, descriptors_for_connections()),
        address_connections=server.address_connections,
        address_accepts=Pace(server.address_accepts_per_s, server.address_accepts_burst),
        address_messages=Pace(messages_per_s, max(1.0, messages_per_s * _BURST_S)),
        trusted_proxies=tuple(server.trusted_proxies),
    )


def descriptors_for_connections() -> int:
    """File descriptors that connections may have; the process's own limit is first raised as far as it may be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
    return sys.maxsize if soft == resource.RLIM_INFINITY else max(_DESCRIPTORS_MIN, soft - _DESCRIPTORS_ELSEWHERE)


def server_settings(config: Config, option: str, port: int) -> ServerSettings:
    """Where and how the server of an option, such as ``http_port``, listens."""
    server = config.server
    return ServerSettings(
        host=server.host,
        port=port,
        name=f"server.{option}",
        header_timeout_s=server.header_timeout_s,
        body_timeout_s=server.body_timeout_s,
        max_header_bytes=server.max_header_bytes,
        write_timeout_s=server.write_timeout_s,
        max_headers=server.max_headers,
        probe_paths=PROBES,
        trusted_proxies=tuple(server.trusted_proxies),
        shutdown_timeout_s=int(server.shutdown_timeout_s),
    )


async def start_streams(config: Config, services: Services, stack: contextlib.AsyncExitStack, run: Run) -> StreamServer:
    """What is told over WebSockets, ours and Binance's; ``stack`` stops it."""
    address_of = ClientAddress(config.server.trusted_proxies)
    streams = StreamServer(services, StreamSettings(**msgspec.structs.asdict(config.websocket)), address_of)
    if services.settings.binance:
        face = BinanceFace(streams)
        streams.add_face(face)
        run("user streams", face.users.run)
    await streams.start()
    run("streams", streams.look_after)
    run("balances", streams.accounts.run)
    stack.push_async_callback(streams.stop)
    return streams
