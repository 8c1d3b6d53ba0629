"""Which URLs and addresses somebody else may have the engine call."""

import ipaddress

import pytest

from trade_engine.http.destinations import Destination, read_destination, refusal_of

LISTED = (ipaddress.ip_network("10.1.2.0/24"), ipaddress.ip_network("fd00:1::/64"))

INNER = (
    "127.0.0.1", "127.255.255.254", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
    "100.100.100.200", "192.0.0.192", "168.63.129.16", "224.0.0.1", "240.0.0.1", "255.255.255.255", "::1", "::",
    "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "ff02::1", "::ffff:127.0.0.1", "::ffff:169.254.169.254",
    "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::7f00:1", "2002:7f00:1::", "2001:0:7f00:1::1",
    "2001:db8::1", "192.0.2.1", "198.18.0.1", "10.1.3.1", "fd00:2::1", "no address", "",
)  # fmt: skip


@pytest.mark.parametrize("address", INNER)
def test_what_is_not_public_is_refused(address: str) -> None:
    assert refusal_of(address, LISTED, is_plain=False)


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:4700::1111", "::ffff:93.184.216.34", "64:ff9b::5db8:d822"])
def test_what_is_public_may_be_called_by_tls_only(address: str) -> None:
    assert refusal_of(address, LISTED, is_plain=False) is None
    assert "not listed" in (refusal_of(address, LISTED, is_plain=True) or "")


@pytest.mark.parametrize("address", ["10.1.2.1", "::ffff:10.1.2.1", "fd00:1::5"])
def test_what_is_listed_may_be_called_in_clear_too(address: str) -> None:
    assert refusal_of(address, LISTED, is_plain=False) is None
    assert refusal_of(address, LISTED, is_plain=True) is None


@pytest.mark.parametrize(
    ("url", "destination"),
    [
        ("https://hooks.example.com/a?b=c", Destination("hooks.example.com", 443, is_plain=False)),
        ("https://hooks.example.com:8443", Destination("hooks.example.com", 8443, is_plain=False)),
        ("https://93.184.216.34/", Destination("93.184.216.34", 443, is_plain=False)),
        ("http://10.1.2.3:8000/x", Destination("10.1.2.3", 8000, is_plain=True)),
        ("http://receiver.internal/x", Destination("receiver.internal", 80, is_plain=True)),
    ],
)
def test_urls_that_may_be_registered(url: str, destination: Destination) -> None:
    assert read_destination(url, LISTED) == destination


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("ftp://example.com", "https"),
        ("example.com", "https"),
        ("https://", "host"),
        ("https://a:b@example.com", "password"),
        ("https://@example.com", "password"),
        ("https://example.com:0", "port"),
        ("https://example.com:70000", "port"),
        ("https://example.com/#a", "fragment"),
        ("https://example.com/#", "fragment"),
        ("https://example.com/ a", "printable"),
        ("https://example.com\\@127.0.0.1/", "printable"),
        ("https://example.com/\n", "printable"),
        ("https://b\u00fccher.example", "printable"),
        ("https://example.com/" + "a" * 2_000, "2000"),
        ("https://127.0.0.1/", "private"),
        ("https://[::1]/", "private"),
        ("https://[::ffff:10.0.0.1]/", "private"),
        ("http://93.184.216.34/", "listed"),
    ],
)
def test_urls_that_may_not(url: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        read_destination(url, LISTED)


def test_without_a_list_nothing_goes_in_clear() -> None:
    with pytest.raises(ValueError, match="https"):
        read_destination("http://receiver.internal/x", ())
