"""Who calls, whether he may, and how often: every face asks here, in plain values."""

from contextlib import AbstractContextManager

from trade_engine.domain.errors import EngineError, InvalidRequest
from trade_engine.edge.at_once import AtOnce
from trade_engine.edge.auth.authenticator import Authenticator, Signature, require_scope
from trade_engine.edge.auth.key_ring import KeyRing
from trade_engine.edge.auth.tokens import Principal
from trade_engine.edge.limits import Demand, RateLimits, Verdict
from trade_engine.edge.problems import Forbidden, RateLimited, Unauthorized
from trade_engine.edge.settings import ADDRESS


class Callers:
    """Logins, rate limits, and readings under way, of all callers.

    Args:
        queries_at_once: readings of the database that one user has under way.
        public_at_once: the same of an address, for those without a login.
    """

    def __init__(
        self, authenticator: Authenticator, limits: RateLimits, queries_at_once: int, public_at_once: int
    ) -> None:
        self._authenticator = authenticator
        self._limits = limits
        #: What reads the database, by user and by address.
        self.readings = AtOnce(queries_at_once)
        self.public_readings = AtOnce(public_at_once)
        #: What tells whether a signed request is too old, before its body is read.
        self.check_time = authenticator.check_time

    # ---- who it is

    @property
    def keys(self) -> KeyRing | None:
        """The API keys, if this server has any."""
        return self._authenticator.keys

    def knows_token(self, bearer: bytes) -> bool:
        """Whether ``Bearer <token>`` was found good before; of any other, its attempt is to be counted first."""
        return self._authenticator.tokens.knows(bearer)

    def knows_key(self, key_id: str) -> bool:
        """As ``knows_token``, for an API key."""
        keys = self._authenticator.keys
        return keys is None or keys.knows(key_id)

    def by_token(self, bearer: bytes) -> Principal:
        """Who ``Bearer <token>`` speaks for.

        Raises:
            Unauthorized: it is not good.
        """
        return self._authenticator.tokens.verify(bearer)

    async def by_signature(self, given: Signature, signed: bytes, address: str) -> Principal:
        """Who the signature of these bytes speaks for.

        Raises:
            Unauthorized, Forbidden, InvalidRequest, Unavailable, RateLimited: as the documentation's codes say.
        """
        return await self._authenticator.authenticate_signature(given, signed, address)

    async def by_key(self, api_key: str, address: str) -> Principal:
        """Who an API key is of that comes without a signature; it may only read.

        Raises:
            Unauthorized, Forbidden, Unavailable: as the documentation's codes say.
        """
        return await self._authenticator.authenticate_key(api_key, address)

    async def require_live(self, principal: Principal) -> None:
        """Refuse a login by an API key that was revoked meanwhile.

        Raises:
            Unauthorized: INVALID_API_KEY; Unavailable: nobody can tell.
        """
        keys = self._authenticator.keys
        if principal.key_id is None or keys is None:
            return
        found = await keys.find(principal.key_id)
        if found is None or found[0].revoked_us:
            raise Unauthorized("INVALID_API_KEY", "the API key is revoked", field="api_key")

    # ---- how often

    async def count(self, limit: str, address: str, user_id: str | None = None, cost: int = 1) -> Verdict | None:
        """Count a request: of a user against the limit and his address's, of nobody known by the address alone.

        The first verdict that refuses, else that of the limit; None if these limits are off.
        """
        if user_id is None:
            demands = [Demand(limit, address, cost)]
        else:
            demands = [Demand(limit, user_id, cost), Demand(ADDRESS, address)]
        verdicts = await self._limits.take(demands)
        for verdict in verdicts:
            if not verdict.allowed:
                return verdict
        return verdicts[0] if verdicts else None

    async def require_room(self, limit: str, address: str, user_id: str | None = None) -> None:
        """As ``count``, where nobody is told how much is left.

        Raises:
            RateLimited: there were too many.
        """
        verdict = await self.count(limit, address, user_id)
        if verdict is not None and not verdict.allowed:
            raise refusal_of(verdict)

    # ---- readings under way

    def reading(self, user_id: str | None, address: str) -> AbstractContextManager[None]:
        """Read the database for a user, or for nobody known.

        Raises:
            TooMany: TOO_MANY_QUERIES: so many of his are under way.
        """
        return self.public_readings.one(address) if user_id is None else self.readings.one(user_id)


def permit(principal: Principal, role: str | None, scope: str, *, keys: bool = True) -> None:
    """Refuse a login that may not be used for this: that lacks the role (None: any) or the scope, or is an API key.

    Raises:
        Forbidden: FORBIDDEN, TOKEN_REQUIRED, SCOPE_MISSING.
    """
    if role is not None and role not in principal.roles:
        raise Forbidden("FORBIDDEN", f"the login lacks the role {role}", field="roles")
    if principal.key_id is not None and not keys:
        raise Forbidden("TOKEN_REQUIRED", "this is done with a bearer token, not with an API key")
    require_scope(principal, scope)


def refusal_of(verdict: Verdict, cost: int = 1, name: str = "") -> EngineError:
    """What a caller hears whose request did not fit a limit; one that never will is told so."""
    if cost > verdict.limit:
        message = f"the rate limit lets {verdict.limit} orders through at once"
        return InvalidRequest("INVALID_BATCH", message, field="orders", provided=cost, limit=verdict.limit)
    return RateLimited(verdict.retry_after_s, name)
