"""One webhook at a time, to receivers that are hostile or broken: every attempt ends, soon, and with a reason."""

import asyncio
import ipaddress
import socket
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.harness.receiver import Receiver
from trade_engine.messaging.webhooks.sender import Attempt, Sender, SenderSettings

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)
SETTINGS = SenderSettings(1.0, LOOPBACK, 2, "tests")
HEADERS = {"webhook-id": "a", "webhook-timestamp": "1", "webhook-signature": "v1,x"}


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    opened = await Receiver().start()
    yield opened
    await opened.stop()


async def attempt(url: str, settings: SenderSettings = SETTINGS) -> Attempt:
    """One attempt, which must end well within its time."""
    sender = Sender(url, settings)
    try:
        async with asyncio.timeout(settings.timeout_s + 10):
            return await sender.send(b"{}", HEADERS)
    finally:
        await sender.close()


async def test_a_receiver_takes_it_over_one_connection(receiver: Receiver) -> None:
    sender = Sender(receiver.url, SETTINGS)
    assert [await sender.send(b'{"n":1}', HEADERS) for _ in range(3)] == [Attempt(True, "status 200")] * 3
    await sender.close()
    assert [taken.body for taken in receiver.taken] == [b'{"n":1}'] * 3
    assert receiver.taken[0].headers["user-agent"] == "tests"


@pytest.mark.parametrize("status", [301, 302, 307, 308, 400, 404, 410, 429, 500, 503])
async def test_no_other_status_counts_and_no_redirect_is_followed(receiver: Receiver, status: int) -> None:
    async def elsewhere(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 {status} X\r\nLocation: {receiver.url}\r\nContent-Length: 0\r\n\r\n".encode())
        await writer.drain()

    receiver.misbehave = elsewhere
    assert await attempt(receiver.url) == Attempt(False, f"status {status}")
    assert receiver.requests == 1


async def hang(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()


async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    for byte in b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 1_000:
        writer.write(bytes((byte,)))
        await writer.drain()
        await asyncio.sleep(0.05)


async def endless_headers(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    for number in range(1_000_000):
        writer.write(f"x-{number}: {'a' * 1_000}\r\n".encode())
        await writer.drain()


async def endless_line(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 ")
    for _number in range(100_000):
        writer.write(b"a" * 10_000)
        await writer.drain()


async def endless_informing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(0.001)


async def garbage(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"\x00\xff nonsense\r\n\r\n")
    await writer.drain()


async def close_at_once(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
    pass


@pytest.mark.parametrize(
    "misbehave", [hang, drip, endless_headers, endless_line, endless_informing, garbage, close_at_once]
)
async def test_what_never_answers_fails_in_time(receiver: Receiver, misbehave: Any) -> None:
    receiver.misbehave = misbehave
    tried = await attempt(receiver.url)
    assert not tried.is_delivered
    assert tried.outcome == "no answer in time" or tried.outcome.startswith("not sent: ")


async def test_an_endless_body_is_cut_off_and_its_status_counts(receiver: Receiver) -> None:
    async def flood(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\nContent-Encoding: gzip\r\n\r\n")
        for _number in range(1_000):
            writer.write(b"\x00" * 100_000)
            await writer.drain()
            sent.append(1)

    sent: list[int] = []
    receiver.misbehave = flood
    assert await attempt(receiver.url) == Attempt(True, "status 200")
    assert len(sent) < 200


async def test_two_hundred_and_gone_is_delivered(receiver: Receiver) -> None:
    async def gone(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        await writer.drain()

    receiver.misbehave = gone
    assert await attempt(receiver.url) == Attempt(True, "status 200")


async def test_nobody_there(receiver: Receiver) -> None:
    await receiver.stop()
    assert (await attempt(receiver.url)).outcome == "not sent: ClientConnectorError"


def answering(*addresses: str) -> Callable[..., list[Any]]:
    """A name server that gives these addresses, one after the other, and then the last for ever."""
    left = list(addresses)

    def look_up(host: str, port: int, *_: Any) -> list[Any]:
        address = left.pop(0) if len(left) > 1 else left[0]
        kind = socket.AF_INET6 if ":" in address else socket.AF_INET
        place = (address, port, 0, 0) if ":" in address else (address, port)
        return [(kind, socket.SOCK_STREAM, 6, "", place)]

    return look_up


@pytest.mark.parametrize("address", ["127.0.0.1", "::ffff:127.0.0.1", "169.254.169.254", "10.0.0.1", "::1"])
async def test_a_name_that_leads_inside_is_refused(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", answering(address))
    tried = await attempt(f"https://rebound.example:{receiver.port}/", SETTINGS._replace(listed=()))
    assert tried.outcome.startswith("address refused: ")
    assert receiver.requests == 0


async def test_one_bad_address_of_a_name_is_enough(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    def look_up(host: str, port: int, *_: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in ("127.0.0.1", "192.168.1.1")]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    tried = await attempt(f"http://rebound.example:{receiver.port}/")
    assert tried.outcome == "address refused: 192.168.1.1 is not listed, and http:// is for listed addresses only"
    assert receiver.requests == 0


async def test_the_address_that_was_judged_is_the_one_that_is_called(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name is looked up once a connection; what it would say next is never asked for."""
    asked = answering("127.0.0.1", "192.168.1.1")
    monkeypatch.setattr(socket, "getaddrinfo", asked)
    sender = Sender(f"http://rebound.example:{receiver.port}/hook", SETTINGS)
    assert await sender.send(b"{}", HEADERS) == Attempt(True, "status 200")
    assert receiver.taken[0].headers["host"] == f"rebound.example:{receiver.port}"
    await receiver.stop()
    assert (await sender.send(b"{}", HEADERS)).outcome.startswith(("address refused: 192.168.1.1", "not sent"))
    assert (await sender.send(b"{}", HEADERS)).outcome.startswith("address refused: 192.168.1.1")
    await sender.close()


async def test_a_name_server_that_hangs_holds_up_its_own_endpoint_only(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    true = socket.getaddrinfo

    def look_up(host: str, *rest: Any) -> Any:
        if host == "slow.example":
            time.sleep(2)
        return true("127.0.0.1" if host.endswith(".example") else host, *rest)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    slow = [
        asyncio.create_task(attempt(f"http://slow.example:{receiver.port}/", SETTINGS._replace(timeout_s=0.5)))
        for _ in range(40)
    ]
    await asyncio.sleep(0.05)
    fast = await attempt(f"http://fast.example:{receiver.port}/hook", SETTINGS._replace(timeout_s=1.9))
    assert fast.is_delivered
    assert {(await each).outcome for each in slow} == {"no answer in time"}


def make_certificate(key: Path, certificate: Path) -> None:
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip


async def test_a_certificate_of_nobody_is_refused(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    make_certificate(key, certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    assert await attempt(url) == Attempt(False, "the certificate is not good")
    server.close()
