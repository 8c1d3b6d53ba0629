"""The wallet port over HTTP: the client of ``http_app`` (SPEC 5.7).

    WalletUnavailable                     what the port knows
    +-- WalletTransportError              no connection, reset, time-out, half an answer: it may have happened
    +-- WalletServerError                 5xx: it may have happened
    +-- WalletAnswerError                 an answer that makes no sense: it may have happened
    +-- WalletRejectsCaller               401, 403 or another 4xx: configuration is wrong; nothing happened
    +-- WalletCircuitOpen                 not sent at all

Reserves are tried once, within 500 ms; everything else is idempotent and repeated after transport errors and 5xx, with
exponential backoff and jitter.  A circuit breaker spares a wallet that is away.  Connections are kept.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, TypeVar

import aiohttp
import msgspec

from trade_engine.domain.scale import ScaleError, format_units, parse_units
from trade_engine.wallet import wire
from trade_engine.wallet.breaker import BreakerSettings, CircuitBreaker
from trade_engine.wallet.port import (
    AUDIT_TIMEOUT_S,
    AuditedReservation,
    Balance,
    BreakerState,
    Difference,
    Entry,
    EntryType,
    Fence,
    Line,
    Outcome,
    Release,
    Reserve,
    Settlement,
    SettleTrade,
    WalletUnavailable,
)

_T = TypeVar("_T", bound=msgspec.Struct)
_encode = msgspec.json.Encoder().encode
_ANSWER_BYTES_MAX: Final = 16 * 1024 * 1024
#: Shorter than the server's, so that a kept connection is not used just as the server closes it.
_KEEP_ALIVE_S: Final = 15.0


class WalletTransportError(WalletUnavailable):
    """No connection, a reset, a time-out, or half an answer."""


class WalletServerError(WalletUnavailable):
    """The service answered 5xx."""


class WalletAnswerError(WalletUnavailable):
    """The service's answer makes no sense."""


class WalletRejectsCaller(WalletUnavailable):
    """The service does not take this caller's requests."""

    sent = False


class WalletCircuitOpen(WalletUnavailable):
    """The breaker is open: nothing was sent."""

    sent = False


class ClientSettings(NamedTuple):
    """How the client works; times in seconds."""

    url: str
    reserve_timeout_s: float = 0.5
    timeout_s: float = 5.0
    retries: int = 3
    backoff_s: float = 0.1
    backoff_max_s: float = 2.0
    connections: int = 16
    breaker: BreakerSettings = BreakerSettings()


class HttpWallet:
    """The wallet port on an HTTP service.

    Args:
        token: gives the service token to send.
        clock: monotonic seconds; of the breaker.
        chance: a number from 0 to 1, which spreads repeats.
        on_change: told when the breaker goes from one state to another.
    """

    def __init__(
        self,
        settings: ClientSettings,
        token: Callable[[], str],
        *,
        clock: Callable[[], float],
        chance: Callable[[], float],
        on_change: Callable[[BreakerState, BreakerState], None] | None = None,
    ) -> None:
        self._settings = settings
        self._token = token
        self._chance = chance
        self._base = settings.url.rstrip("/") + wire.PREFIX
        self._session: aiohttp.ClientSession | None = None
        self.breaker = CircuitBreaker(settings.breaker, clock, on_change)
        #: Told of each call: operation, ``ok`` or an error's name, seconds.
        self.on_called: Callable[[str, str, float], None] = lambda operation, outcome, seconds: None
        #: Calls by (operation, what became of them): ok, retry, or an error's name.
        self.counts: Counter[tuple[str, str]] = Counter()

    @property
    def is_out(self) -> bool:
        """Whether the circuit breaker is open; half open it is not: only calls close it again."""
        return self.breaker.state is BreakerState.OPEN

    def condition(self) -> str:
        """``ok`` or ``circuit open``."""
        return "circuit open" if self.is_out else "ok"

    async def aclose(self) -> None:
        """Close all connections."""
        if self._session is not None:
            session, self._session = self._session, None
            await session.close()

    async def reserve_many(self, items: Sequence[Reserve], epoch: int) -> list[Outcome]:
        """Reserve, in order; see the port.  Never repeated.

        Raises:
            WalletUnavailable: one of the kinds above.
        """
        body = wire.ReserveBatch(epoch=epoch, items=[wire.reserve_body(item) for item in items])
        answer = await self._once("reserve/batch", body, wire.BatchAnswer, self._settings.reserve_timeout_s)
        return self._outcomes(answer, len(items))

    async def raise_fence(self, epoch: int) -> Fence:
        """Refuse reserves of lower epochs from now on; see the port.

        Raises:
            WalletUnavailable: one of the kinds above.
        """
        answer = await self._call("fence", wire.FenceBody(epoch=epoch), wire.FenceAnswer)
        return Fence(answer.code, answer.epoch)

    async def release_many(self, items: Sequence[Release]) -> list[Outcome]:
        """Release, each item on its own; see the port.

        Raises:
            WalletUnavailable: one of the kinds above.
        """
        body = wire.ReleaseBatch(items=[wire.release_body(item) for item in items])
        return self._outcomes(await self._call("release/batch", body, wire.BatchAnswer), len(items))

    async def settle_many(self, items: Sequence[SettleTrade]) -> list[Outcome]:
        """Settle trades, each atomic on its own; see the port.

        Raises:
            WalletUnavailable: one of the kinds above.
        """
        body = wire.SettleBatch(items=[wire.settle_body(item) for item in items])
        return self._outcomes(await self._call("settle-trade/batch", body, wire.BatchAnswer), len(items))

    async def deposit(self, user_id: str, asset: str, amount: int, operation_id: str) -> Outcome:
        """Credit a user; see the port.

        Raises:
            WalletUnavailable: one of the kinds above.
        """
        return await self._fund("deposit", user_id, asset, amount, operation_id)

    async def withdraw(self, user_id: str, asset: str, amount: int, operation_id: str) -> Outcome:
        """Debit a user.

        Raises:
            WalletUnavailable: one of the kinds above.
        """
        return await self._fund("withdraw", user_id, asset, amount, operation_id)

    async def balances(self, user_id: str) -> list[Balance]:
        """All balances of a user, sorted by asset.

        Raises:
            WalletUnavailable: one of the kinds above.
        """
        answer = await self._call(f"{user_id}/balances", None, wire.BalancesAnswer)
        return sorted(
            Balance(asset, _units(held.available), _units(held.reserved)) for asset, held in answer.balances.items()
        )

    async def ledger(self, user_id: str, before_id: int, limit: int) -> list[Entry]:
        """A page of a user's entries, newest first; see the port.

        Raises:
            WalletUnavailable: one of the kinds above.
        """
        path = f"{user_id}/ledger?before={before_id}&limit={limit}"
        return [_entry(row) for row in (await self._call(path, None, wire.LedgerAnswer)).entries]

    async def audit(self) -> list[Difference]:
        """What in the ledger does not agree with itself; takes its time, and is asked for once.

        Raises:
            WalletUnavailable: one of the kinds above.
        """
        answer = await self._once("audit", None, wire.AuditAnswer, AUDIT_TIMEOUT_S)
        return [Difference(row.check, row.subject, row.asset, row.left, row.right) for row in answer.differences]

    async def reservations_after(self, order_id: str, limit: int) -> list[AuditedReservation]:
        """The next reservations above ``order_id``.

        Raises:
            WalletUnavailable: one of the kinds above.
        """
        answer = await self._call(f"reservations?after={order_id}&limit={limit}", None, wire.ReservationsAnswer)
        return [
            AuditedReservation(row.order_id, row.user_id, row.asset, _units(row.remaining), row.epoch)
            for row in answer.reservations
        ]

    async def settlements_after(self, trade_id: str, limit: int) -> list[Settlement]:
        """The next settled trades above ``trade_id``.

        Raises:
            WalletUnavailable: one of the kinds above.
        """
        answer = await self._call(f"settlements?after={trade_id}&limit={limit}", None, wire.SettlementsAnswer)
        return [
            Settlement(
                row.trade_id,
                _units(row.notional),
                _units(row.quantity),
                _units(row.buyer_fee),
                _units(row.seller_fee),
                row.buyer_user_id,
                row.seller_user_id,
            )
            for row in answer.settlements
        ]

    async def known(self, operation_ids: Sequence[str]) -> set[str]:
        """Which of these trades and releases were carried out.

        Raises:
            WalletUnavailable: one of the kinds above.
        """
        body = wire.KnownBody(operation_ids=list(operation_ids))
        return set((await self._call("known", body, wire.KnownAnswer)).operation_ids)

    async def _fund(self, kind: str, user_id: str, asset: str, amount: int, operation_id: str) -> Outcome:
        body = wire.FundBody(user_id=user_id, asset=asset, amount=format_units(amount), operation_id=operation_id)
        answer = await self._call(kind, body, wire.FundAnswer, refusals=True)
        if isinstance(answer, wire.Problem):
            return Outcome(answer.code, message=answer.message)
        return Outcome("OK", _units(answer.available_balance), _units(answer.reserved_balance), amount=amount)

    def _outcomes(self, answer: wire.BatchAnswer, expected: int) -> list[Outcome]:
        if len(answer.outcomes) != expected:
            raise WalletAnswerError(f"wallet: {len(answer.outcomes)} outcomes for {expected} items")
        try:
            return [wire.outcome_of(row) for row in answer.outcomes]
        except ScaleError as error:
            raise WalletAnswerError(f"wallet: an amount in the answer cannot be read: {error}") from error

    async def _call(self, path: str, body: msgspec.Struct | None, kind: type[_T], *, refusals: bool = False) -> Any:
        """Ask, and ask again after trouble that may pass."""
        settings = self._settings
        wait_s = settings.backoff_s
        for attempt in range(settings.retries + 1):
            try:
                return await self._once(path, body, kind, settings.timeout_s, refusals=refusals)
            except (WalletTransportError, WalletServerError):
                if attempt == settings.retries:
                    raise
            self.counts[_operation(path), "retry"] += 1
            await asyncio.sleep(wait_s * (0.5 + self._chance() / 2))
            wait_s = min(wait_s * 2, settings.backoff_max_s)
        raise AssertionError("the loop returns or raises")

    async def _once(
        self, path: str, body: msgspec.Struct | None, kind: type[_T], timeout_s: float, *, refusals: bool = False
    ) -> Any:
        """Ask once, past the breaker: a ``kind``, or its ``Problem`` if the caller takes refusals."""
        operation = _operation(path)
        started_s = time.perf_counter()
        if not self.breaker.allows():
            self._count(operation, "WalletCircuitOpen", started_s)
            raise WalletCircuitOpen("wallet: the circuit breaker is open")
        try:
            answer = await self._exchange(path, body, kind, timeout_s, refusals=refusals)
        except WalletRejectsCaller:
            self.breaker.succeeded()
            self._count(operation, "WalletRejectsCaller", started_s)
            raise
        except WalletUnavailable as trouble:
            self.breaker.failed()
            self._count(operation, type(trouble).__name__, started_s)
            raise
        except BaseException:
            self.breaker.abandoned()
            raise
        self.breaker.succeeded()
        self._count(operation, "ok", started_s)
        return answer

    def _count(self, operation: str, outcome: str, started_s: float) -> None:
        self.counts[operation, outcome] += 1
        name = operation.partition("/")[0].removesuffix("-trade")
        self.on_called(name, outcome, time.perf_counter() - started_s)

    async def _exchange(
        self, path: str, body: msgspec.Struct | None, kind: type[_T], timeout_s: float, *, refusals: bool
    ) -> _T | wire.Problem:
        headers = {"Authorization": f"Bearer {self._token()}", "Content-Type": "application/json"}
        method = "GET" if body is None else "POST"
        content = None if body is None else _encode(body)
        try:
            async with (
                asyncio.timeout(timeout_s),
                self._open().request(
                    method, f"{self._base}/{path}", data=content, headers=headers, allow_redirects=False
                ) as response,
            ):
                status, answer = response.status, await response.content.read(_ANSWER_BYTES_MAX)
                while not response.content.at_eof() and len(answer) < _ANSWER_BYTES_MAX:
                    answer += await response.content.read(_ANSWER_BYTES_MAX - len(answer))
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise WalletTransportError(f"wallet: {type(error).__name__}: {error}") from error
        if status >= 500:
            raise WalletServerError(f"wallet: the service answered {status}")
        try:
            if status == 200:
                return msgspec.json.decode(answer, type=kind)
            problem = msgspec.json.decode(answer, type=wire.Failure).error
        except (msgspec.DecodeError, RecursionError) as error:
            raise WalletAnswerError(f"wallet: an answer {status} that is not of the contract: {error}") from error
        if refusals and status not in (401, 403):
            return problem
        raise WalletRejectsCaller(f"wallet: {status} {problem.code}: {problem.message}")

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._settings.connections, keepalive_timeout=_KEEP_ALIVE_S),
                timeout=aiohttp.ClientTimeout(total=None),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
            )
        return self._session


def _operation(path: str) -> str:
    named = path.partition("?")[0]
    return named.rpartition("/")[2] if named.endswith(("/balances", "/ledger")) else named


def _entry(row: wire.LedgerEntry) -> Entry:
    """An entry of an answer; which line of its operation it is does not travel."""
    try:
        number, kind = int(row.id), EntryType(row.type)
    except ValueError as error:
        raise WalletAnswerError(f"wallet: an entry in the answer cannot be read: {error}") from error
    line = Line(0, kind, row.user_id, row.asset, _units(row.available_delta), _units(row.reserved_delta))
    after = _units(row.available_after), _units(row.reserved_after)
    return Entry(number, row.operation_id, line, *after, row.reference_id, row.description)


def _units(text: str) -> int:
    """An amount of an answer; the outside account's is below zero.

    Raises:
        WalletAnswerError: it cannot be read.
    """
    try:
        return -parse_units(text[1:]) if text.startswith("-") else parse_units(text)
    except ScaleError as error:
        raise WalletAnswerError(f"wallet: an amount in the answer cannot be read: {error}") from error
