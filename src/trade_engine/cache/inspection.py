"""Whether a Redis is set up as is advised: what is not costs a warning each, and keeps nobody from working."""

from typing import Any, Final, NamedTuple

from redis.asyncio import Redis
from redis.exceptions import ResponseError

_MAJOR_MIN: Final = 7


class Advice(NamedTuple):
    """One setting that is not as is advised."""

    setting: str
    found: str
    advised: str
    why: str


class ClusterRefused(Exception):
    """The server is a cluster's, and says so."""


async def inspect(redis: Redis) -> list[Advice]:
    """What of a server is not as is advised.

    Raises:
        ClusterRefused: it belongs to a cluster.
        RedisError, OSError: it does not answer.
    """
    told: dict[str, Any] = {}
    for section in ("server", "persistence", "memory", "cluster"):
        told |= await redis.info(section)
    if told.get("cluster_enabled"):
        raise ClusterRefused("the server belongs to a cluster, which keeps a request's limits on several machines")
    return [*_of_what_it_tells(told), *await _of_its_settings(redis, told)]


def _of_what_it_tells(told: dict[str, Any]) -> list[Advice]:
    found = []
    # Valkey tells the version of Redis that it stands in for, and its own.
    version = str(told.get("redis_version", "unknown"))
    major = version.partition(".")[0]
    if not major.isdigit() or int(major) < _MAJOR_MIN:
        why = "older ones are neither tried nor maintained"
        found.append(Advice("version", version, f"{_MAJOR_MIN} or newer, or Valkey", why))
    if not told.get("aof_enabled"):
        why = "limits are forgotten when it restarts"
        found.append(Advice("appendonly", "no", "yes, with appendfsync everysec", why))
    policy = str(told.get("maxmemory_policy", "unknown"))
    if policy != "noeviction":
        why = "it would throw limits away when memory is short, and callers would begin anew"
        found.append(Advice("maxmemory-policy", policy, "noeviction", why))
    if not told.get("maxmemory"):
        why = "it grows until the machine ends it"
        found.append(Advice("maxmemory", "0, which is no limit", "a limit, such as 256mb", why))
    return found


async def _of_its_settings(redis: Redis, told: dict[str, Any]) -> list[Advice]:
    """What only ``CONFIG GET`` tells; a hosted server may not allow it."""
    try:
        config = await redis.config_get("save", "appendfsync")
    except ResponseError:
        return [Advice("CONFIG GET", "not allowed", "allowed", "save points and appendfsync cannot be looked at")]
    found = []
    if not config.get("save"):
        why = "no copy of the data is written but the log"
        found.append(Advice("save", "none", "save points, such as 3600 1 300 100", why))
    fsync = str(config.get("appendfsync"))
    if told.get("aof_enabled") and fsync != "everysec":
        why = "no loses more than a second, always makes each request wait for the disk"
        found.append(Advice("appendfsync", fsync, "everysec", why))
    if not redis.connection_pool.connection_kwargs.get("password"):
        why = "whoever reaches the port may change limits and prices shown"
        found.append(Advice("password", "none", "redis.password, and requirepass or an ACL", why))
    return found
