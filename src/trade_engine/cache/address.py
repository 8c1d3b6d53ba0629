"""Where Redis is: one server, or Sentinels that know which server is the primary.

    redis://user:password@host:6379/0           rediss:// with TLS           unix:///run/redis.sock
    redis+sentinel://user:password@s1:26379,s2,s3/mymaster/0?sentinel_password=...    rediss+sentinel:// with TLS

The login is the server's; that of the Sentinels stands behind the question mark.
"""

from typing import Final, NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

SENTINEL_PORT: Final = 26_379
_ONE: Final = ("redis", "rediss")
_WATCHED: Final = {"redis+sentinel": "redis", "rediss+sentinel": "rediss"}
_NO_CLUSTER: Final = (
    "is a cluster's: the limits of a request are judged together, and a cluster keeps their keys on several machines; "
    "give one server, or Sentinels (redis+sentinel://host:26379,host:26379/mymaster/0)"
)


class RedisAddress(NamedTuple):
    """An address, understood."""

    #: One server as the library takes it; with Sentinels its place means nothing, all else holds for any primary.
    url: str
    #: (host, port) of each; none: ``url`` is the place.
    sentinels: tuple[tuple[str, int], ...] = ()
    #: What the Sentinels call the primary.
    service: str = ""
    sentinel_user: str | None = None
    sentinel_password: str | None = None


def read_address(url: str) -> RedisAddress:
    """Understand an address.

    Raises:
        ValueError: why it is none, or is one that the engine cannot use; it holds no part of the login.
    """
    scheme = url.partition("://")[0].lower()
    if "cluster" in scheme:
        raise ValueError(_NO_CLUSTER)
    if scheme == "unix":
        return RedisAddress(url)
    if scheme not in _ONE and scheme not in _WATCHED:
        known = ", ".join(f"{name}://" for name in (*_ONE, "unix", *_WATCHED))
        raise ValueError(f"must start with one of {known}")
    parts = urlsplit(url)
    login, at, places = parts.netloc.rpartition("@")
    if scheme in _ONE:
        if "," in places:
            raise ValueError(_NO_CLUSTER)
        _place(places, 6_379)
        _database(parts.path.strip("/"))
        return RedisAddress(url)
    service, _, database = parts.path.strip("/").partition("/")
    if not service:
        raise ValueError("must name the primary as its Sentinels do: redis+sentinel://host:26379/mymaster")
    query = dict(parse_qsl(parts.query))
    user, password = query.pop("sentinel_user", None), query.pop("sentinel_password", None)
    sentinels = tuple(_place(place, SENTINEL_PORT) for place in places.split(","))
    base = (_WATCHED[scheme], f"{login}{at}sentinel", f"/{_database(database)}", urlencode(query), "")
    return RedisAddress(urlunsplit(base), sentinels, service, user, password)


def _place(text: str, port: int) -> tuple[str, int]:
    """Host and port of ``host``, ``host:port`` or ``[::1]:port``."""
    try:
        found = urlsplit(f"//{text}")
        host, given = found.hostname, found.port
    except ValueError as error:
        raise ValueError(f"{text!r} is no host and port: {error}") from None
    if not host:
        raise ValueError(f"{text!r} is no host and port")
    return host, port if given is None else given


def _database(text: str) -> int:
    if text and not (text.isascii() and text.isdigit()):
        raise ValueError(f"the database must be a number, not {text!r}")
    return int(text or 0)
