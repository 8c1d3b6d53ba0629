"""Whose address counts: the peer's, unless a trusted proxy names another."""

import pytest
from websockets.datastructures import Headers

from trade_engine.api.addresses import ClientAddress, network

FORWARDED = Headers({"X-Forwarded-For": "203.0.113.7"})


@pytest.mark.parametrize(
    ("trusted", "peer", "headers", "address"),
    [
        ((), ("198.51.100.1", 1), Headers(), "198.51.100.1"),
        ((), ("198.51.100.1", 1), FORWARDED, "198.51.100.1"),
        (("10.0.0.0/8",), ("198.51.100.1", 1), FORWARDED, "198.51.100.1"),
        (("10.0.0.0/8",), ("10.1.2.3", 1), FORWARDED, "203.0.113.7"),
        (("10.0.0.0/8",), ("10.1.2.3", 1), Headers({"X-Forwarded-For": "1.2.3.4, 203.0.113.7"}), "203.0.113.7"),
        (("10.0.0.0/8",), ("10.1.2.3", 1), Headers(), "10.1.2.3"),
        ((), ("2001:db8:1:2:3::4", 1, 0, 0), Headers(), "2001:db8:1:2:3::4"),
        ((), "", Headers(), "unknown"),
        ((), None, Headers(), "unknown"),
    ],
)
def test_only_a_trusted_proxy_is_believed(
    trusted: tuple[str, ...], peer: object, headers: Headers, address: str
) -> None:
    assert ClientAddress(trusted)(peer, headers) == address


def test_what_is_no_address_is_left_as_it_is() -> None:
    assert network("unix") == "unix"


def test_an_ipv6_address_counts_as_its_network() -> None:
    assert network("2001:db8:1:2:3::4") == network("2001:db8:1:2:9::9") == "2001:db8:1:2::/64"
