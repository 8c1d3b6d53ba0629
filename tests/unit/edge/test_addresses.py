"""Whose address counts: the peer's, unless a trusted proxy names another."""

import pytest
from websockets.datastructures import Headers

from trade_engine.http.addresses import ClientAddress, network

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


@pytest.mark.parametrize(
    ("written", "counts_as"),
    [
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("::ffff:cb00:7107", "203.0.113.7"),
        ("64:ff9b::203.0.113.7", "203.0.113.7"),
        ("2002:cb00:7107::1", "203.0.113.7"),
        ("2002:cb00:7107:ffff::1", "203.0.113.7"),
        ("203.0.113.7", "203.0.113.7"),
        ("64:ff9b:1::203.0.113.7", "64:ff9b:1::/64"),
        ("::1", "::/64"),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
def test_an_ipv4_address_inside_an_ipv6_one_counts_as_itself(written: str, counts_as: str) -> None:
    assert network(written) == counts_as


def test_ipv4_callers_of_a_socket_for_both_are_told_apart() -> None:
    assert network("::ffff:203.0.113.7") != network("::ffff:203.0.113.8")
    assert network("64:ff9b::203.0.113.7") != network("64:ff9b::203.0.113.8")


def test_an_ipv6_address_counts_as_its_network() -> None:
    assert network("2001:db8:1:2:3::4") == network("2001:db8:1:2:9::9") == "2001:db8:1:2::/64"
