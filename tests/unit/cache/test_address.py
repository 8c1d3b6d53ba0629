"""Addresses of Redis: one server, Sentinels, and those that are refused with a reason."""

import re

import pytest

from trade_engine.cache.address import RedisAddress, read_address


@pytest.mark.parametrize(
    "url", ["redis://h", "redis://:p@h:6380/2", "rediss://u:p@[::1]/0?ssl_ca_certs=/ca", "unix:///run/redis.sock"]
)
def test_one_server_is_left_to_the_library(url: str) -> None:
    assert read_address(url) == RedisAddress(url)


def test_sentinels_are_named_with_what_they_call_the_primary() -> None:
    found = read_address("redis+sentinel://u:p%40w@a:1,b,[::1]:3/main/4?sentinel_user=s&sentinel_password=t%26")
    assert found.sentinels == (("a", 1), ("b", 26_379), ("::1", 3))
    assert (found.service, found.sentinel_user, found.sentinel_password) == ("main", "s", "t&")
    assert found.url == "redis://u:p%40w@sentinel/4"
    assert read_address("rediss+sentinel://a/main?ssl_ca_certs=%2Fca").url == "rediss://sentinel/0?ssl_ca_certs=%2Fca"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("redis+cluster://:hunter2@a,b", "is a cluster's"),
        ("redis://:hunter2@a:1,b:2/0", "is a cluster's"),
        ("http://:hunter2@a", "must start with one of redis://"),
        ("redis+sentinel://:hunter2@a,b", "must name the primary"),
        ("redis+sentinel://:hunter2@a,,b/main", "'' is no host and port"),
        ("redis+sentinel://:hunter2@a:x/main", "'a:x' is no host and port"),
        ("redis://:hunter2@a:99999", "'a:99999' is no host and port"),
        ("redis+sentinel://:hunter2@a/main/x", "the database must be a number, not 'x'"),
        ("redis://:hunter2@a/x", "the database must be a number, not 'x'"),
    ],
)
def test_what_is_of_no_use_is_refused_with_a_reason_and_without_its_password(url: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as refused:
        read_address(url)
    assert "hunter2" not in str(refused.value)
