"""What verification found: whether each part agrees, and the differences in words, bounded."""

from typing import Any, Final

import msgspec

#: As many are told; whether a part agrees is known however many there are.
MOST_DIFFERENCES: Final = 100


class Report(msgspec.Struct, kw_only=True):
    """The outcome of one verification."""

    journal_batches: int = 0
    #: The place in the journal that it started from: what lies before was verified then; 0: the beginning.
    anchor: int = 0
    #: Archived files that were read and are what was noted of them.
    files: int = 0
    #: Sequence and hash of the journal's end: noted elsewhere, they tell a chain that was written anew.
    journal_head: str = ""
    chain_ok: bool = True
    facts_ok: bool = True
    state_ok: bool = True
    orders_ok: bool = True
    trades_ok: bool = True
    markets_ok: bool = True
    traders_ok: bool = True
    ledger_ok: bool = True
    settlement_ok: bool = True
    funding_ok: bool = True
    candles_ok: bool = True
    audit_ok: bool = True
    #: Orders and movements of money from before the journal had facts: nothing contradicts them, nothing proves them.
    unproven: int = 0
    #: Orders whose funds were reserved and whose commit was under way.
    in_flight: int = 0
    differences: list[str] = msgspec.field(default_factory=list)

    def differ(self, what: str, message: str) -> None:
        """Note a difference of ``what``: one of the parts above."""
        setattr(self, f"{what}_ok", False)
        if len(self.differences) < MOST_DIFFERENCES:
            self.differences.append(f"{what}: {message}")

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not self.differences


def fields_of(found: Any, expected: Any) -> str:
    """In words, in which fields two structs differ; empty if in none."""
    return "; ".join(
        f"{name} is {_shown(getattr(found, name))}, should be {_shown(getattr(expected, name))}"
        for name in expected.__struct_fields__
        if getattr(found, name) != getattr(expected, name)
    )


def _shown(value: Any) -> str:
    return str(getattr(value, "name", value))
