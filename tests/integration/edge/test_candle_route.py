"""GET /markets/{symbol}/candles: what it takes and what it shows."""

import pytest

from tests.integration.edge.conftest import Api
from tests.integration.edge.test_requests import ORDER, problem

PATH = "/api/v1/markets/BTC/USDT/candles"


async def trade(api: Api, quantity: str, price: str) -> None:
    for side in ("BUY", "SELL"):
        body = ORDER | {"side": side, "quantity": quantity, "price": price}
        answer = await api.http.post("/api/v1/orders", json=body, headers=api.headers())
        assert answer.status_code == 201, answer.text


async def test_a_candle_shows_what_traded_and_needs_no_token(api: Api) -> None:
    for quantity, price in (("0.5", "50000.00"), ("0.25", "50010.50"), ("0.5", "49990.00")):
        await trade(api, quantity, price)
    for symbol, interval in (("BTC/USDT", "1D"), ("btc-usdt", "1d")):
        answer = await api.http.get(f"/api/v1/markets/{symbol}/candles", params={"interval": interval})
        assert answer.status_code == 200, answer.text
        assert answer.json()["meta"]["next_cursor"] is None
        assert answer.json()["data"] == [
            {
                "symbol": "BTC/USDT", "interval": "1d", "open_time": "2026-01-01T00:00:00.000000Z",
                "close_time": "2026-01-02T00:00:00.000000Z", "open": "50000.00", "high": "50010.50", "low": "49990.00",
                "close": "49990.00", "volume": "1.25", "quote_volume": "62497.625", "trades": 3, "closed": False,
            }
        ]  # fmt: skip
    assert (await api.http.get(PATH)).json()["data"][0]["interval"] == "1m"
    assert (await api.http.get("/api/v1/markets/ETHUSDT/candles")).json()["data"] == []
    for outside in ({"start_time": "2026-01-01T00:00:00.000001Z"}, {"end_time": "2026-01-01T00:00:00Z"}):
        assert (await api.http.get(PATH, params=outside)).json()["data"] == []


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("interval", "2m", "INVALID_INTERVAL"),
        ("interval", "", "INVALID_INTERVAL"),
        ("interval", "1m" * 900, "INVALID_INTERVAL"),
        ("limit", "0", "INVALID_PARAMETER"),
        ("limit", "1001", "INVALID_PARAMETER"),
        ("limit", "ten", "INVALID_PARAMETER"),
        ("start_time", "yesterday", "INVALID_PARAMETER"),
        ("end_time", "-1", "INVALID_PARAMETER"),
        ("end_time", "9" * 15, "INVALID_PARAMETER"),
        ("cursor", "01890000-0000-7000-8000-000000000000", "INVALID_CURSOR"),
        ("depth", "5", "INVALID_PARAMETER"),
    ],
)
async def test_a_wrong_parameter_is_named(api: Api, name: str, value: str, code: str) -> None:
    answer = await api.http.get(PATH, params={name: value})
    assert problem(answer) == (400, code)
    details = answer.json()["error"]["details"]
    assert details["field"] == name
    assert details["provided"] == value[:100]


async def test_an_unknown_market_has_no_candles(api: Api) -> None:
    answer = await api.http.get("/api/v1/markets/NO/SUCH/candles")
    assert problem(answer) == (400, "INVALID_SYMBOL")
