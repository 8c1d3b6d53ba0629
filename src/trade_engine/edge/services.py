"""What every face of the engine stands on: who calls, what callers may do, and what they may read."""

from collections.abc import Callable

from trade_engine.edge.auth.authenticator import Authenticator
from trade_engine.edge.auth.listen_keys import ListenKeys
from trade_engine.edge.auth.tokens import TokenVerifier
from trade_engine.edge.backoffice import BackOffice
from trade_engine.edge.balances import Balances, Pending
from trade_engine.edge.caller import Callers
from trade_engine.edge.cancel_timers import CancelTimers
from trade_engine.edge.limits import RateLimits
from trade_engine.edge.markets import Markets
from trade_engine.edge.meter import Access, Meter, NoMeter
from trade_engine.edge.settings import ApiSettings
from trade_engine.edge.trading import Desk
from trade_engine.sequencer.ports import MarketReader, Operations, Trading
from trade_engine.storage.queries import Queries
from trade_engine.wallet.port import Wallet


class Services:
    """What faces may use."""

    def __init__(
        self,
        trading: Trading,
        reader: MarketReader,
        operations: Operations,
        wallet: Wallet,
        queries: Queries,
        verifier: TokenVerifier,
        limits: RateLimits,
        settings: ApiSettings,
        pending: Pending,
        backoffice: BackOffice,
        database: Callable[[], str],
        meter: Meter | None = None,
        authenticator: Authenticator | None = None,
        rabbitmq: Callable[[], str] = lambda: "not used",
        access: Access | None = None,
        redis: Callable[[], str] | None = None,
    ) -> None:
        self.callers = Callers(
            authenticator or Authenticator(verifier), limits, settings.queries_at_once, settings.public_at_once
        )
        self.meter = meter or NoMeter()
        #: Told of each request, if anybody wants to know.
        self.access = access
        #: ``ok``, or what is wrong with the database, as far as it is known now.
        self.database = database
        #: ``ok``, ``down`` and why, or ``not used``.
        self.rabbitmq = rabbitmq
        #: ``ok``, ``degraded`` or ``not used``.
        self.redis = redis or limits.condition
        self.backoffice = backoffice
        self.reader = reader
        self.operations = operations
        self.wallet = wallet
        self.queries = queries
        self.limits = limits
        self.settings = settings
        self.markets = Markets(reader)
        self.desk = Desk(trading, self.markets, queries, limits, self.meter)
        self.balances = Balances(wallet, pending)
        self.listen_keys = ListenKeys()
        self.cancel_timers = CancelTimers(backoffice.pool, self.desk)
