"""UUIDv7: laid out by RFC 9562, sortable by time, trade ids repeatable."""

import uuid

import pytest

from trade_engine.domain.ids import canonical_uuid, trade_uuid, uuid7, uuid7_floor


def test_the_layout_is_version_7() -> None:
    parsed = uuid.UUID(uuid7(1_700_000_000_123, 0xABC, 0x3FFF_FFFF_FFFF_FFFF))
    assert parsed.version == 7
    assert parsed.variant == uuid.RFC_4122
    assert parsed.int >> 80 == 1_700_000_000_123
    assert uuid7(1, 2, 3) < uuid7(1, 3, 0) < uuid7(2, 0, 0)


def test_a_trade_id_follows_from_its_command() -> None:
    ids = [trade_uuid(1_700_000_000_123_456, 7, index) for index in range(3)]
    assert ids == [trade_uuid(1_700_000_000_123_456, 7, index) for index in range(3)]
    assert len(set(ids)) == 3
    assert ids == sorted(ids)
    assert trade_uuid(1_700_000_000_123_456, 8, 0) not in ids
    with pytest.raises(OverflowError):
        trade_uuid(1, 1 << 42, 0)
    with pytest.raises(OverflowError):
        trade_uuid(1, 1, 1 << 20)


def test_the_floor_is_not_above_any_id_of_its_millisecond() -> None:
    assert uuid7_floor(5_000_999) <= uuid7(5_000, 0, 0)
    assert uuid7_floor(5_000_999) > uuid7(4_999, 0xFFF, 0x3FFF_FFFF_FFFF_FFFF)


@pytest.mark.parametrize("text", ["", "x", "0" * 36, "018f0000-0000-7000-8000-00000000000g", "{018f}"])
def test_what_is_no_uuid(text: str) -> None:
    assert canonical_uuid(text) is None


def test_upper_case_is_made_canonical() -> None:
    assert canonical_uuid("018F0000-0000-7000-8000-00000000000A") == "018f0000-0000-7000-8000-00000000000a"
