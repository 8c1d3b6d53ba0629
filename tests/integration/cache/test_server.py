"""One Redis behind every kind of address: a pool under load, TLS, a fail-over by Sentinels, and advice."""

import asyncio
import contextlib
import time
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.harness.redis import TestRedis, TestSentinels
from trade_engine.bench.own_server import free_port
from trade_engine.cache.inspection import ClusterRefused, inspect
from trade_engine.cache.redis_limits import RedisLimits
from trade_engine.cache.server import TROUBLE, RedisServer, RedisSettings
from trade_engine.edge.limits import Demand
from trade_engine.edge.settings import LimitSettings, RateLimit

WITHIN_S = 30.0


async def test_a_pool_of_a_hundred_holds_a_hundred_connections_and_no_more(own_redis: TestRedis) -> None:
    server = RedisServer(RedisSettings(url=own_redis.url, timeout_ms=10_000, max_retries=0))

    async def wait() -> object:
        return await server.redis.blpop(["nothing"], timeout=8)

    waiting = [asyncio.create_task(wait()) for _ in range(100)]
    watcher = RedisServer(RedisSettings(url=own_redis.url, timeout_ms=5_000))
    async with asyncio.timeout(WITHIN_S):
        while (await watcher.redis.info("clients"))["blocked_clients"] < 100:
            await asyncio.sleep(0.02)
    with pytest.raises(TROUBLE):
        await server.reach()
    for _ in waiting:
        await watcher.redis.rpush("nothing", "1")
    assert len(await asyncio.gather(*waiting)) == 100
    began = time.perf_counter()

    async def work(number: int) -> None:
        for turn in range(50):
            await server.redis.set(f"k{number}", turn)

    await asyncio.gather(*(work(number) for number in range(100)))
    print(f"100 connections: {5_000 / (time.perf_counter() - began):.0f} calls a second, none failed")
    assert [await server.redis.get(f"k{number}") for number in range(100)] == [b"49"] * 100
    await server.aclose()
    await watcher.aclose()


def certificate(folder: Path) -> tuple[str, str]:
    """Files of a key and of a certificate for 127.0.0.1 that signs itself."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(1).not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    (folder / "key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    (folder / "cert").write_bytes(made.public_bytes(Encoding.PEM))
    return str(folder / "key"), str(folder / "cert")


async def test_tls_is_spoken_with_whom_is_trusted(own_redis: TestRedis, tmp_path: Path) -> None:
    own_redis.stop()
    key, cert = certificate(tmp_path)
    port = free_port()
    files = ("--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", cert)
    redis = TestRedis("--tls-port", str(port), "--tls-auth-clients", "no", *files)
    redis.start()
    try:
        url = f"rediss://127.0.0.1:{port}/0"
        async with contextlib.AsyncExitStack() as stack:
            trusting = RedisServer(RedisSettings(url=f"{url}?ssl_ca_certs={cert}", timeout_ms=5_000))
            stack.push_async_callback(trusting.aclose)
            await trusting.reach()
            wary = RedisServer(RedisSettings(url=url, timeout_ms=5_000))
            stack.push_async_callback(wary.aclose)
            with pytest.raises(TROUBLE):
                await wary.reach()
    finally:
        redis.remove()


async def test_what_the_sentinels_say_is_followed_over_a_fail_over(sentinels: TestSentinels) -> None:
    sentinels.freeze_sentinel()
    settings = RedisSettings(url=sentinels.url, timeout_ms=500, retry_every_s=0.1)
    limits = RedisLimits(settings, LimitSettings(orders=RateLimit(0.001, 5)))
    with structlog.testing.capture_logs() as lines:
        await limits.start()
        assert limits.condition() == "ok", lines

        async def left() -> int:
            (verdict,) = await limits.take([Demand("orders", "a")])
            return verdict.remaining

        assert [await left(), await left()] == [4, 3]
        replicated = RedisServer(RedisSettings(url=sentinels.replica.url, timeout_ms=5_000))
        async with asyncio.timeout(WITHIN_S):
            while not await replicated.redis.exists("trade-engine:limit:orders:a"):
                await asyncio.sleep(0.02)
        sentinels.primary.stop()
        assert await left() == 4, "this process counts by itself, from a full bucket"
        assert limits.condition() == "degraded"
        async with asyncio.timeout(WITHIN_S):
            while limits.condition() != "ok":
                await asyncio.sleep(0.05)
        assert await left() == 2, "the replica goes on where the primary was"
        assert (await replicated.redis.info("replication"))["role"] == "master"
    await limits.aclose()
    await replicated.aclose()
    assert [line["event"] for line in lines if line["event"] in ("redis_away", "redis_back")] == [
        "redis_away", "redis_back",
    ]  # fmt: skip


async def test_a_server_is_looked_at_once_and_each_setting_gets_a_warning(own_redis: TestRedis) -> None:
    server = RedisServer(RedisSettings(url=own_redis.url, timeout_ms=5_000), looks=True)
    with structlog.testing.capture_logs() as lines:
        await server.reach()
        await server.reach()
    assert [line["setting"] for line in lines] == ["appendonly", "maxmemory", "save", "password"]
    await server.redis.config_set("maxmemory-policy", "allkeys-lru")
    assert "maxmemory-policy" in [advice.setting for advice in await inspect(server.redis)]
    for name, value in (
        ("appendonly", "yes"), ("maxmemory", "100mb"), ("maxmemory-policy", "noeviction"), ("save", "3600 1"),
        ("requirepass", "secret"),
    ):  # fmt: skip
        await server.redis.config_set(name, value)
    await server.aclose()
    url = own_redis.url.replace("//", "//:secret@")
    login = RedisServer(RedisSettings(url=url, timeout_ms=5_000))
    assert await inspect(login.redis) == []
    await login.redis.config_set("appendfsync", "always")
    assert [advice.setting for advice in await inspect(login.redis)] == ["appendfsync"]
    await login.redis.acl_setuser(
        "hosted", enabled=True, nopass=True, keys=["*"], categories=["+@all"], commands=["-config"]
    )
    hosted = RedisServer(RedisSettings(url=own_redis.url.replace("//", "//hosted:x@"), timeout_ms=5_000))
    assert [advice.setting for advice in await inspect(hosted.redis)] == ["CONFIG GET"]
    await login.aclose()
    await hosted.aclose()


async def test_a_cluster_s_server_is_refused(own_redis: TestRedis) -> None:
    own_redis.stop()
    redis = TestRedis("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
    redis.start()
    server = RedisServer(RedisSettings(url=redis.url, timeout_ms=5_000), looks=True)
    try:
        await server.redis.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16_383)  # type: ignore[no-untyped-call]
        async with asyncio.timeout(WITHIN_S):
            while (await server.redis.execute_command("CLUSTER INFO"))["cluster_state"] != "ok":  # type: ignore[no-untyped-call]
                await asyncio.sleep(0.05)
        with pytest.raises(ClusterRefused):
            await server.reach()
    finally:
        await server.aclose()
        redis.remove()


def test_an_address_with_what_no_connection_knows_is_refused() -> None:
    with pytest.raises(ValueError, match="what no connection knows"):
        RedisServer(RedisSettings(url="redis://h/0?colour=red"))
