"""Where a demo may be shown."""

import pytest

from trade_engine.demo.users import DemoRefused, require_loopback


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_this_machine(host: str) -> None:
    require_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.com", ""])
def test_others_could_reach_it(host: str) -> None:
    with pytest.raises(DemoRefused, match="this machine alone"):
        require_loopback(host)
