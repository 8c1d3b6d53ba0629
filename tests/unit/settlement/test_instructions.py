"""Ids of releases: one an instruction, in the order's own time range, and legal UUIDs."""

from trade_engine.domain.ids import canonical_uuid
from trade_engine.settlement.instructions import release_operation

ORDER = "01900000-0000-7000-8000-0123456789ab"


def test_a_release_operation_follows_from_order_and_instruction() -> None:
    assert release_operation(ORDER, 255) == "01900000-0000-7000-8000-0000000000ff"
    assert release_operation(ORDER, 255) != release_operation(ORDER, 256)


def test_a_release_operation_is_a_uuid_even_for_the_highest_number() -> None:
    operation = release_operation(ORDER, 2**48 - 1)
    assert canonical_uuid(operation) == operation
