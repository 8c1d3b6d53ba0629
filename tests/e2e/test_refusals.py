"""Refusals that help: each says what there is, what would pass, or what was meant."""

from typing import Any

from tests.e2e.venue import Trader, Venue

GOOD = {"symbol": "T60/USDT", "side": "BUY", "type": "LIMIT", "quantity": "1", "price": "100.00"}


async def refusal(trader: Trader, **change: Any) -> Any:
    """The error of an order that is refused."""
    answer = await trader.post({name: value for name, value in (GOOD | change).items() if value is not None})
    assert answer.status_code in (400, 422), answer.text
    return answer.json()["error"]


async def test_a_shortage_says_what_there_is(venue: Venue) -> None:
    poor, stranger = await venue.trader(USDT="40"), await venue.trader()
    await poor.order("T60/USDT", "BUY", "0.1", "100.00")
    error = await refusal(poor)
    assert error["code"] == "INSUFFICIENT_BALANCE"
    told = {name: error["details"][name] for name in ("asset", "required", "available")}
    assert told == {"asset": "USDT", "required": "100.1", "available": "29.99"}
    assert (await refusal(stranger))["details"]["available"] == "0"
    for order in await poor.get("/orders", status="open"):
        await poor.cancel(order["id"])


async def test_a_missing_price_is_not_said_to_be_zero(venue: Venue) -> None:
    trader = await venue.trader(USDT="1000")
    missing, zero = await refusal(trader, price=None), await refusal(trader, price="0.00")
    assert missing["code"] == zero["code"] == "INVALID_PRICE"
    assert "provided" not in missing["details"]
    assert zero["details"]["provided"] == "0.00"


async def test_an_unknown_field_and_an_unknown_market_say_what_there_is(venue: Venue) -> None:
    trader = await venue.trader(USDT="1000")
    field = await refusal(trader, pirce="1")
    assert "price" in field["details"]["limit"]
    assert "stop_price" in field["message"]
    for given, nearest in {"T60/USD": "T60/USDT", "t60usd": "T60/USDT", "T-60/USDT": "T60/USDT"}.items():
        market = await refusal(trader, symbol=given)
        assert (market["code"], market["details"]["nearest"]) == ("INVALID_SYMBOL", nearest)
        assert "BTC-USDT" in market["message"]
    assert "nearest" not in (await refusal(trader, symbol="\u6771"))["details"]


async def test_a_price_outside_the_band_is_told_the_band_and_its_ends_pass(venue: Venue) -> None:
    maker, taker = await venue.trader(BAND="10", USDT="100000"), await venue.trader(USDT="100000")
    admin = {"Authorization": f"Bearer {venue.token(maker.user_id, ('admin',))}"}
    listed = {
        "symbol": "BAND/USDT",
        "tick_size": "0.03",
        "lot_size": "0.01",
        "min_quantity": "0.01",
        "price_band": "0.1",
    }
    answer = await venue.http.post("/api/v1/admin/markets", json=listed | {"reason": "test"}, headers=admin)
    assert answer.status_code == 201, answer.text
    await maker.order("BAND/USDT", "SELL", "1", "100.02")
    await taker.order("BAND/USDT", "BUY", "1", "100.02")
    error = await refusal(taker, symbol="BAND/USDT", price="200.01")
    assert error["code"] == "PRICE_BAND"
    told = {name: error["details"][name] for name in ("field", "provided", "last_price", "lowest", "highest")}
    assert told == {
        "field": "price", "provided": "200.01", "last_price": "100.02", "lowest": "90.03", "highest": "110.01"
    }  # fmt: skip
    for price, passes in {"90.03": True, "90.00": False, "110.01": True, "110.04": False}.items():
        answer = await taker.post(GOOD | {"symbol": "BAND/USDT", "price": price})
        assert (answer.status_code == 201) == passes, answer.text


async def test_a_repeat_with_other_terms_says_which(venue: Venue) -> None:
    trader = await venue.trader(USDT="1000")
    first = (await trader.post(GOOD | {"client_order_id": "a"})).json()["data"]
    same = (await trader.post(GOOD | {"client_order_id": "a"})).json()["data"]
    assert same == first | {"replayed": True}
    other = {"side": "SELL", "price": "99.00", "time_in_force": "DAY", "post_only": True}
    repeat = (await trader.post(GOOD | other | {"client_order_id": "a"})).json()["data"]
    assert repeat["order"]["id"] == first["order"]["id"]
    assert repeat["differs"] == ["side", "price", "time_in_force", "post_only"]
    bought = {"symbol": "T60/USDT", "side": "BUY", "type": "MARKET", "client_order_id": "b"}
    for amount, differs in {"50": None, "50.0": None, "60": ["quote_amount"]}.items():
        data = (await trader.post(bought | {"quote_amount": amount})).json()["data"]
        assert data.get("differs") == differs


async def test_only_an_order_that_asked_for_an_end_shows_one(venue: Venue) -> None:
    trader = await venue.trader(USDT="1000")
    lasting, _ = await trader.order("T60/USDT", "BUY", "1", "1.00")
    day, _ = await trader.order("T60/USDT", "BUY", "1", "1.00", time_in_force="DAY")
    assert lasting["expires_at"] is None
    assert day["expires_at"] is not None


async def test_times_in_seconds_and_reversed_ranges_are_refused(venue: Venue) -> None:
    trader = await venue.trader(USDT="1")
    seconds = {"start_time": "1760000000"}
    reversed_range = {"start_time": "2026-02-01T00:00:00Z", "end_time": "2026-01-01T00:00:00Z"}
    for path in ("/orders", "/trades", "/markets/T60-USDT/candles"):
        for given, field in ((seconds, "start_time"), (reversed_range, "end_time")):
            answer = await venue.http.get(f"/api/v1{path}", params=given, headers=trader.headers)
            assert (answer.status_code, answer.json()["error"]["details"]["field"]) == (400, field)


async def test_the_root_says_where_things_are(venue: Venue) -> None:
    answer = await venue.http.get("/")
    assert answer.status_code == 200
    for path in (answer.json()[name] for name in ("reference", "description", "health")):
        assert (await venue.http.get(path)).status_code == 200, path
