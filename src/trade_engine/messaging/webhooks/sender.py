"""Sends one webhook: to an address that was looked up and judged, and with an end to everything.

No redirect is followed and no proxy used; the certificate must be good.  All of an attempt takes ``timeout_s`` at most,
its name's look-up included.  Of the answer the status counts; a little of the body is read so that the connection can
be kept, and none of it is kept, logged or unpacked.
"""

import asyncio
import contextlib
import functools
import socket
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from trade_engine.http.destinations import Network, read_destination, refusal_of

_BODY_MAX: Final = 65_536
_CHUNK: Final = 16_384
_HEADERS_MAX: Final = 100
_HEADER_BYTES_MAX: Final = 8_190
_KEEP_S: Final = 30.0
#: Characters of a reason that are kept.
_REASON_MAX: Final = 200


class Attempt(NamedTuple):
    """What came of one attempt."""

    is_delivered: bool
    #: The status, or what went wrong; never anything that the receiver wrote.
    outcome: str


class SenderSettings(NamedTuple):
    """How webhooks are sent."""

    timeout_s: float
    #: Networks that may be called although they are private.
    listed: Sequence[Network]
    #: Connections of one endpoint at a time.
    connections: int
    user_agent: str


class _Refused(OSError):
    """A name leads to an address that must not be called."""


class _JudgedNames(AbstractResolver):
    """Looks a name up, on a thread of this endpoint's own, and refuses all of it if one address is refused."""

    def __init__(self, listed: Sequence[Network], *, is_plain: bool) -> None:
        self._listed = listed
        self._is_plain = is_plain
        # A look-up cannot be stopped: one that hangs holds up this endpoint's next one, and nobody else's.
        self._thread = ThreadPoolExecutor(1, "webhook names")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """All addresses of a name, every one of them judged.

        Raises:
            OSError: there is none, or one must not be called.
        """
        look_up = functools.partial(socket.getaddrinfo, host, port, family, socket.SOCK_STREAM)
        found = await asyncio.get_running_loop().run_in_executor(self._thread, look_up)
        results: list[ResolveResult] = []
        for kind, _, protocol, _, address in found:
            why = refusal_of(str(address[0]), self._listed, is_plain=self._is_plain)
            if why is not None:
                raise _Refused(why)
            results.append(
                ResolveResult(
                    hostname=host, host=str(address[0]), port=port, family=kind, proto=protocol,
                    flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
                )
            )  # fmt: skip
        return results

    async def close(self) -> None:
        """Let the thread go; it is not waited for."""
        self._thread.shutdown(wait=False, cancel_futures=True)


class Sender:
    """Sends to one URL, over connections of its own; ``close`` it.

    Raises:
        ValueError: the URL must not be called.
    """

    def __init__(self, url: str, settings: SenderSettings) -> None:
        destination = read_destination(url, settings.listed)
        self.url = url
        self._names = _JudgedNames(settings.listed, is_plain=destination.is_plain)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=settings.connections, resolver=self._names, use_dns_cache=False, keepalive_timeout=_KEEP_S
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=settings.timeout_s),
            headers={"User-Agent": settings.user_agent, "Content-Type": "application/json"},
            auto_decompress=False,
            trust_env=False,
            max_line_size=_HEADER_BYTES_MAX,
            max_field_size=_HEADER_BYTES_MAX,
            max_headers=_HEADERS_MAX,
            read_bufsize=_BODY_MAX,
        )

    async def send(self, body: bytes, headers: Mapping[str, str]) -> Attempt:
        """One attempt; it never raises what the receiver or the network may cause."""
        try:
            async with self._session.post(self.url, data=body, headers=headers, allow_redirects=False) as answer:
                # What counts has been said; what comes after it can only spoil the connection.
                with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError, ValueError):
                    await _read_away(answer)
                return Attempt(200 <= answer.status < 300, f"status {answer.status}")
        except TimeoutError:
            return Attempt(False, "no answer in time")
        except aiohttp.ClientConnectorDNSError as error:
            refused = error.os_error if isinstance(error.os_error, _Refused) else None
            return Attempt(False, f"address refused: {refused}" if refused else "the name is not to be resolved")
        except aiohttp.ClientConnectorCertificateError:
            return Attempt(False, "the certificate is not good")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            return Attempt(False, f"not sent: {type(error).__name__}"[:_REASON_MAX])

    async def close(self) -> None:
        """Let all connections go."""
        await self._session.close()
        await self._names.close()


async def _read_away(answer: aiohttp.ClientResponse) -> None:
    """Read the rest of an answer, so that its connection can be used again; too long a one is cut off."""
    left = _BODY_MAX
    while left > 0:
        chunk = await answer.content.read(min(left, _CHUNK))
        if not chunk:
            return
        left -= len(chunk)
    answer.close()
