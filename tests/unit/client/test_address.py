"""Where a server is: every way of writing it that can only mean one thing, and what cannot be one."""

import pytest

from trade_engine.client import Client
from trade_engine.client.address import server_address

WRITTEN = (
    "127.0.0.1:8080", "127.0.0.1:8080/", "127.0.0.1:8080/api/v1", "http://127.0.0.1:8080",
    "http://127.0.0.1:8080/api/v1", " http://127.0.0.1:8080/api/v1/ ",
)  # fmt: skip


@pytest.mark.parametrize("url", WRITTEN)
def test_an_address_is_understood(url: str) -> None:
    assert server_address(url) == "http://127.0.0.1:8080"


def test_a_path_before_the_api_and_https_stay() -> None:
    assert server_address("https://example.com/venue/api/v1") == "https://example.com/venue"


@pytest.mark.parametrize("url", ["ws://127.0.0.1:8080", "", "http://", "http://h:port", "http://h/?a=b"])
def test_what_is_no_address_is_refused_at_once(url: str) -> None:
    with pytest.raises(ValueError, match=r"address|scheme|[Pp]ort"):
        Client(url)
