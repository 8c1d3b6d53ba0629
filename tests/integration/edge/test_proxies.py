"""Behind a proxy the client's own address counts, and only a trusted proxy may say which that is."""

import pytest

from tests.integration.edge.conftest import UNLIMITED, Start
from trade_engine.edge.settings import LimitSettings, RateLimit

ONE = LimitSettings(
    orders=UNLIMITED.orders, queries=UNLIMITED.queries, public=RateLimit(0.01, 1), address=UNLIMITED.address
)


@pytest.mark.parametrize(("trusted", "statuses"), [(("127.0.0.1",), [200, 429, 200]), ((), [200, 429, 429])])
async def test_addresses_are_counted(start: Start, trusted: tuple[str, ...], statuses: list[int]) -> None:
    async with start(ONE, server={"trusted_proxies": trusted}) as api:
        seen = [
            (await api.http.get("/api/v1/time", headers={"X-Forwarded-For": client})).status_code
            for client in ("203.0.113.7", "203.0.113.7", "203.0.113.8")
        ]
    assert seen == statuses
