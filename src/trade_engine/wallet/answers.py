"""The wallet service's operations: from a body of the contract to the wallet, and to the contract's answer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from trade_engine.domain.ids import canonical_uuid
from trade_engine.domain.scale import format_units
from trade_engine.wallet import wire
from trade_engine.wallet.audit import PostgresLedger
from trade_engine.wallet.ledger import refusal
from trade_engine.wallet.port import MAX_AMOUNT, Outcome, Release

_FIRST_ID: Final = "00000000-0000-0000-0000-000000000000"
_PAGE_MAX: Final = 10_000


class WalletRefusal(Exception):
    """A request that is refused: its code (``wire.STATUS``) and why."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class WalletAnswers:
    """One method an operation, named as in the table of operations."""

    def __init__(self, wallet: PostgresLedger) -> None:
        self._wallet = wallet

    async def reserve(self, body: wire.ReserveBody) -> wire.ReserveAnswer:
        """Reserve for one order; without an epoch, as of the writer seen last."""
        epoch = await self._wallet.current_epoch() if body.epoch is None else body.epoch
        [outcome] = await self._wallet.reserve_many([wire.reserve_of(body)], epoch)
        _require(outcome)
        return wire.ReserveAnswer(
            True, outcome.reservation_id, format_units(outcome.available), format_units(outcome.reserved)
        )

    async def reserve_batch(self, body: wire.ReserveBatch) -> wire.BatchAnswer:
        """Reserve for many, in order."""
        return _batch(await self._wallet.reserve_many([wire.reserve_of(item) for item in body.items], body.epoch))

    async def fence(self, body: wire.FenceBody) -> wire.FenceAnswer:
        """Raise the fence to a writer's epoch."""
        fence = await self._wallet.raise_fence(body.epoch)
        return wire.FenceAnswer(True, fence.code, fence.epoch)

    async def release(self, body: wire.ReleaseBody) -> wire.ReleaseAnswer:
        """Release one reservation."""
        item = await self._release_item(body)
        if item is None:
            raise WalletRefusal("RESERVATION_NOT_FOUND", refusal("RESERVATION_NOT_FOUND").message)
        [outcome] = await self._wallet.release_many([item])
        _require(outcome)
        return wire.ReleaseAnswer(
            True, format_units(outcome.amount), format_units(outcome.available), format_units(outcome.reserved)
        )

    async def release_batch(self, body: wire.ReleaseBatch) -> wire.BatchAnswer:
        """Release many."""
        items = [await self._release_item(item) for item in body.items]
        done = iter(await self._wallet.release_many([item for item in items if item is not None]))
        return _batch(refusal("RESERVATION_NOT_FOUND") if item is None else next(done) for item in items)

    async def settle_trade(self, body: wire.SettleBody) -> wire.SettleAnswer:
        """Settle one trade; a repeat gives the first answer, out of the ledger."""
        item = wire.settle_of(body)
        [outcome] = await self._wallet.settle_many([item])
        _require(outcome)
        rows = await self._wallet.trade_rows(item.trade_id)
        ids = {row["line"]: str(row["entry_id"]) for row in rows}
        return wire.SettleAnswer(
            True, ids[1], ids[3], _holdings(rows, item.buyer_user_id), _holdings(rows, item.seller_user_id)
        )

    async def settle_batch(self, body: wire.SettleBatch) -> wire.BatchAnswer:
        """Settle many trades, each atomic on its own."""
        return _batch(await self._wallet.settle_many([wire.settle_of(item) for item in body.items]))

    async def deposit(self, body: wire.FundBody) -> wire.FundAnswer:
        """Credit a user."""
        units = wire.units_of(body.amount)
        return _funded(await self._wallet.deposit(body.user_id.lower(), body.asset, units, body.operation_id.lower()))

    async def withdraw(self, body: wire.FundBody) -> wire.FundAnswer:
        """Debit a user."""
        units = wire.units_of(body.amount)
        return _funded(await self._wallet.withdraw(body.user_id.lower(), body.asset, units, body.operation_id.lower()))

    async def known(self, body: wire.KnownBody) -> wire.KnownAnswer:
        """Which trades and releases were carried out."""
        found = await self._wallet.known([number.lower() for number in body.operation_ids])
        return wire.KnownAnswer(True, sorted(found))

    async def audit(self) -> wire.AuditAnswer:
        """What in the ledger does not agree with itself."""
        return wire.AuditAnswer(True, [wire.DifferenceRow(*row) for row in await self._wallet.audit()])

    async def reservations(self, after: str = _FIRST_ID, limit: str = "1000") -> wire.ReservationsAnswer:
        """A page of open reservations."""
        rows = await self._wallet.reservations_after(_uuid("after", after), _whole("limit", limit, _PAGE_MAX))
        return wire.ReservationsAnswer(
            True,
            [wire.OpenReservation(r.order_id, r.user_id, r.asset, format_units(r.remaining), r.epoch) for r in rows],
        )

    async def settlements(self, after: str = _FIRST_ID, limit: str = "1000") -> wire.SettlementsAnswer:
        """A page of settled trades."""
        rows = await self._wallet.settlements_after(_uuid("after", after), _whole("limit", limit, _PAGE_MAX))
        return wire.SettlementsAnswer(
            True,
            [
                wire.SettledTrade(
                    row.trade_id,
                    format_units(row.notional),
                    format_units(row.quantity),
                    format_units(row.buyer_fee),
                    format_units(row.seller_fee),
                    row.buyer_user_id,
                    row.seller_user_id,
                )
                for row in rows
            ],
        )

    async def balances(self, user_id: str) -> wire.BalancesAnswer:
        """A user's holdings; none for an unknown user."""
        rows = await self._wallet.balances(_uuid("user_id", user_id))
        return wire.BalancesAnswer(
            True, {row.asset: wire.Holding(format_units(row.available), format_units(row.reserved)) for row in rows}
        )

    async def ledger(self, user_id: str, before: str = str(MAX_AMOUNT), limit: str = "100") -> wire.LedgerAnswer:
        """A page of a user's entries, newest first."""
        most = _whole("limit", limit, 1_000)
        rows = await self._wallet.ledger(_uuid("user_id", user_id), _whole("before", before, MAX_AMOUNT), most)
        entries = [
            wire.LedgerEntry(
                str(row.entry_id),
                row.operation_id,
                row.line.type.value,
                row.line.user_id,
                row.line.asset,
                format_units(row.line.available_delta),
                format_units(row.line.reserved_delta),
                format_units(row.available_after),
                format_units(row.reserved_after),
                row.reference_id,
                row.description,
            )
            for row in rows
        ]
        return wire.LedgerAnswer(True, entries, entries[-1].id if len(entries) == most else None)

    async def _release_item(self, body: wire.ReleaseBody) -> Release | None:
        """The release, its user and asset looked up if they are not given; None if there is no such reservation."""
        if body.user_id is not None and body.asset is not None:
            return wire.release_of(body, body.user_id.lower(), body.asset)
        owner = await self._wallet.owner_of((body.reservation_id or body.order_id).lower())
        if owner is None or (body.user_id or owner[0]).lower() != owner[0] or (body.asset or owner[1]) != owner[1]:
            return None
        return wire.release_of(body, *owner)


def _require(outcome: Outcome) -> None:
    if not outcome.ok:
        raise WalletRefusal(outcome.code, outcome.message)


def _batch(outcomes: Iterable[Outcome]) -> wire.BatchAnswer:
    return wire.BatchAnswer(True, [wire.outcome_row(outcome) for outcome in outcomes])


def _funded(outcome: Outcome) -> wire.FundAnswer:
    _require(outcome)
    return wire.FundAnswer(True, format_units(outcome.available), format_units(outcome.reserved))


def _holdings(rows: Iterable[Any], user_id: str) -> dict[str, wire.Holding]:
    """What a side held after a trade: by asset, its last line."""
    return {
        row["asset"]: wire.Holding(format_units(int(row["available"])), format_units(int(row["reserved"])))
        for row in rows
        if row["user_id"] == user_id
    }


def _uuid(name: str, text: str) -> str:
    found = canonical_uuid(text)
    if found is None:
        raise WalletRefusal("INVALID_REQUEST", f"{name} must be a UUID")
    return found


def _whole(name: str, text: str, most: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20 and 1 <= int(text) <= most):
        raise WalletRefusal("INVALID_REQUEST", f"{name} must be a whole number from 1 to {most}")
    return int(text)
