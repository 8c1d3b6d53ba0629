"""Signed requests: parameters wherever they stand, signatures over the raw bytes, and whatever is wrong with them."""

import asyncio
import random
import time
import uuid
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from tests.e2e.binance.conftest import Face, Key, refusal
from tests.e2e.binance.socket import socket
from tests.e2e.binance.test_streams import port
from trade_engine.ops.access import AccessLines

ACCOUNT = "/api/v3/account"
ORDER = "/api/v3/order"
NO_KEY = (401, -2015, "Invalid API-key, IP, or permissions for action.")
BAD_SIGNATURE = (400, -1022, "Signature for this request is not valid.")


async def test_parameters_in_query_body_or_both_in_any_order_and_encoding(face: Face) -> None:
    _, joined = face.market()
    key = await face.key(USDT="10000")
    form = {"Content-Type": "application/x-www-form-urlencoded", **key.headers}

    async def send(query: str, body: str = "", method: str = "POST") -> httpx.Response:
        return await face.http.request(method, f"{ORDER}?{query}" if query else ORDER, content=body, headers=form)

    def terms(name: str) -> str:
        return (
            f"symbol={joined}&side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=10&newClientOrderId={name}"
            f"&timestamp={key.now_ms()}"
        )

    t = terms("in-query")
    assert (await send(key.sign(t))).json()["clientOrderId"] == "in-query"
    t = terms("in-body")
    assert (await send("", key.sign(t))).json()["clientOrderId"] == "in-body"
    query, body = terms("in-both").split("&side=")
    signed = key.digest(f"{query}side={body}")
    assert (await send(query, f"side={body}&signature={signed}")).json()["clientOrderId"] == "in-both"
    query, body = terms("first").split("&side=")
    signed = key.digest(f"{query}side={body}")
    assert (await send(f"signature={signed}&{query}", f"side={body}")).json()["clientOrderId"] == "first"
    parts = terms("encoded").split("&")
    parts = [quote(part.replace("encoded", "a:b/c"), safe="=") for part in reversed(parts)]
    middle = "&".join(parts)
    digest = key.digest(middle)
    half = len(parts) // 2
    query = "&".join((*parts[:half], f"signature={digest.upper()}", *parts[half:]))
    assert (await send(query)).json()["clientOrderId"] == "a:b/c"


async def test_repeated_empty_and_unknown_ones_are_refused(face: Face) -> None:
    _, joined = face.market()
    key = await face.key(USDT="10000")
    now = key.now_ms()
    twice = (400, -1101, "Duplicate values for a parameter detected.")
    for terms in (f"timestamp={now}&timestamp={now}", f"timestamp={now}&time%73tamp={now}"):
        answer = await face.http.get(f"{ACCOUNT}?{key.sign(terms)}", headers=key.headers)
        assert refusal(answer) == twice, terms
    terms = f"symbol={joined}&symbol={joined}&timestamp={now}"
    answer = await face.http.get(f"/api/v3/openOrders?{key.sign(terms)}", headers=key.headers)
    assert refusal(answer) == twice
    terms = f"timestamp={now}"
    answer = await face.http.get(f"{ACCOUNT}?{key.sign(terms)}&signature=00", headers=key.headers)
    assert refusal(answer) == twice
    assert (await key.refused("GET", ACCOUNT, omitZeroBalances="")) == (
        400, -1105, "Parameter 'omitZeroBalances' was empty.",
    )  # fmt: skip
    assert (await key.refused("GET", ACCOUNT, other=1))[:2] == (400, -1104)
    many = "&".join(f"p{n}=1" for n in range(101))
    assert (await face.http.get(f"{ACCOUNT}?{many}", headers=key.headers)).json()["code"] == -1101


async def test_what_a_login_lacks(face: Face) -> None:
    key = await face.key()
    bad_key = (401, -2014, "API-key format invalid.")
    now = key.now_ms()
    query = f"{ACCOUNT}?{key.sign(f'timestamp={now}')}"
    assert refusal(await face.http.get(query)) == bad_key
    for header in ("", "x", key.key_id.upper(), key.key_id[:-1]):
        assert refusal(await face.http.get(query, headers={"X-MBX-APIKEY": header})) == bad_key, header
    both = [("X-MBX-APIKEY", key.key_id), ("X-MBX-APIKEY", key.key_id)]
    assert refusal(await face.http.get(query, headers=both)) == bad_key
    unknown = {"X-MBX-APIKEY": "tek_" + "0" * 32}
    assert refusal(await face.http.get(query, headers=unknown)) == NO_KEY
    bare = await face.http.get(f"{ACCOUNT}?timestamp={now}", headers=key.headers)
    assert refusal(bare)[:2] == (400, -1102)
    assert "'signature'" in bare.text
    untimed = await face.http.get(f"{ACCOUNT}?{key.sign('recvWindow=5000')}", headers=key.headers)
    assert refusal(untimed)[:2] == (400, -1102)
    assert "'timestamp'" in untimed.text


async def test_the_window(face: Face) -> None:
    key = await face.key()
    now = time.time_ns() // 1_000_000
    late = (400, -1021, "Timestamp for this request is outside of the recvWindow.")
    assert await key.refused("GET", ACCOUNT, timestamp=now - 100_000) == late
    assert await key.refused("GET", ACCOUNT, timestamp=now - 100_000, recvWindow=60000) == late
    ahead = (400, -1021, "Timestamp for this request was 1000ms ahead of the server's time.")
    assert await key.refused("GET", ACCOUNT, timestamp=now + 600_000) == ahead
    assert (await key.refused("GET", ACCOUNT, recvWindow=60001))[:2] == (400, -1131)
    assert (await key.refused("GET", ACCOUNT, recvWindow="60000.001"))[:2] == (400, -1131)
    assert (await key.refused("GET", ACCOUNT, recvWindow="-1"))[:2] == (400, -1100)
    assert (await key.refused("GET", ACCOUNT, recvWindow=0))[:2] == (400, -1131)
    await key.good("GET", ACCOUNT, recvWindow="6000.346")
    await key.good("GET", ACCOUNT, timestamp=time.time_ns() // 1000)


async def test_a_signature_passes_once_where_it_changes_something(face: Face) -> None:
    _, joined = face.market()
    key = await face.key(USDT="10000")
    terms = f"symbol={joined}&side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=10&timestamp={key.now_ms()}"
    target = f"{ORDER}?{key.sign(terms)}"
    first = await face.http.post(target, headers=key.headers)
    assert first.status_code == 200
    again = refusal(await face.http.post(target, headers=key.headers))
    assert again == (400, -1022, "Signature for this request is not valid: it was used before.")
    upper = f"{ORDER}?{terms}&signature={key.digest(terms).upper()}"
    assert refusal(await face.http.post(upper, headers=key.headers))[1] == -1022
    assert len(await key.good("GET", "/api/v3/openOrders", symbol=joined)) == 1
    read = f"{ACCOUNT}?{key.sign(f'timestamp={key.now_ms()}')}"
    for _ in range(3):
        assert (await face.http.get(read, headers=key.headers)).status_code == 200
    number = first.json()["orderId"]
    ended = f"{ORDER}?{key.sign(f'symbol={joined}&orderId={number}&timestamp={key.now_ms()}')}"
    assert (await face.http.delete(ended, headers=key.headers)).status_code == 200
    assert refusal(await face.http.delete(ended, headers=key.headers))[1] == -1022


async def test_scopes_and_addresses(face: Face) -> None:
    _, joined = face.market()
    owner = await face.trader(USDT="10000")
    reader = await face.key(owner, ("read",))
    order = {"symbol": joined, "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": 1, "price": 10}
    await reader.good("GET", ACCOUNT)
    assert await reader.refused("POST", ORDER, **order) == NO_KEY
    assert await reader.refused("DELETE", "/api/v3/openOrders", symbol=joined) == NO_KEY
    assert (await reader.good("GET", ACCOUNT))["canTrade"] is False
    body = {"name": "elsewhere", "ip_allow_list": ["192.0.2.7"]}
    made = (await owner.http.post("/api/v1/api-keys", json=body, headers=owner.headers)).json()["data"]
    elsewhere = Key(face.http, made["key"]["key_id"], made["secret"])
    assert await elsewhere.refused("GET", ACCOUNT) == NO_KEY
    gone = await face.key(owner)
    await gone.good("GET", ACCOUNT)
    await owner.http.delete(f"/api/v1/api-keys/{gone.key_id}", headers=owner.headers)
    assert await gone.refused("GET", ACCOUNT) == NO_KEY


@pytest.mark.parametrize("seed", [20260101])
async def test_no_mutated_request_is_accepted(face: Face, seed: int) -> None:
    """Bytes of a signed order are changed, dropped, doubled or swapped; whatever is signed is what was sent."""
    rng = random.Random(seed)
    _, joined = face.market()
    key = await face.key(USDT="10000")
    for _ in range(400):
        terms = f"symbol={joined}&side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=10&timestamp={key.now_ms()}"
        right = key.sign(terms)
        at = rng.randrange(len(right))
        wrong = rng.choice(
            (
                right[:at] + right[at + 1 :],
                right[:at] + right[at] + right[at:],
                right[:at] + rng.choice("0123456789abcdefBUYX&=%+") + right[at + 1 :],
                right[:at] + rng.choice("&=%#.") + right[at:],
            )
        )
        if wrong.split("#")[0].lower() == right.lower() and wrong[: len(terms)] == terms:
            continue
        answer = await face.http.post(f"{ORDER}?{wrong}", headers=key.headers)
        assert answer.status_code in (400, 401), (wrong, answer.text)
    assert await key.good("GET", "/api/v3/openOrders", symbol=joined) == []


async def test_no_log_has_queries_or_listen_keys(
    face: Face, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[dict[str, Any]] = []
    lines = AccessLines()
    monkeypatch.setattr(lines, "tell", told.append)
    monkeypatch.setattr(face.venue.running.services, "access", lines)
    key, token = await face.key(USDT="1000"), face.venue.token(str(uuid.uuid4()))
    await key.good("GET", ACCOUNT)
    await key.refused("GET", ACCOUNT, timestamp=5)
    listen = str((await key.http.post("/api/v3/userDataStream", headers=key.headers)).json()["listenKey"])
    given = {"listenKey": listen}
    assert (await key.http.put("/api/v3/userDataStream", params=given, headers=key.headers)).json() == {}
    assert (await key.http.put("/api/v3/userDataStream", data=given, headers=key.headers)).json() == {}
    # Also where it is asked for over plain HTTP, by mistake, and where it is none any more.
    for path in (f"/ws/{listen}", f"/stream/{listen}", f"/api/v3/{listen}", f"/ws/x/{listen}?token={token}"):
        assert (await key.http.get(path)).status_code == 404
    async with socket(port(face), f"/ws/{listen}") as link:
        await link.ask("LIST_SUBSCRIPTIONS")
    async with socket(port(face), f"/stream?streams={listen}&token={token}") as link:
        await link.ask("LIST_SUBSCRIPTIONS")
    async with connect(f"ws://127.0.0.1:{port(face)}/ws?token={token}") as ours:
        await ours.send('{"op":"ping"}')
        await asyncio.wait_for(ours.recv(), 10)
    await key.http.delete("/api/v3/userDataStream", params=given, headers=key.headers)
    with pytest.raises(InvalidStatus):
        async with socket(port(face), f"/ws/{listen}"):
            pass
    seen = capfd.readouterr()
    text = f"{told} {seen.err} {seen.out}"
    assert "/api/v3/userDataStream" in text, text
    for secret in ("signature=", "token=", key.key_id, listen, token):
        assert secret not in text, text
