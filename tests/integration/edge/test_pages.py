"""The description and its page, as a browser asks for them."""

import gzip
import json
import re
from importlib import resources
from typing import Final

import httpx
import pytest

from tests.integration.edge.conftest import UNLIMITED, Api, Start
from trade_engine.edge.rest.openapi.document import document
from trade_engine.edge.rest.openapi.pages import PAGES
from trade_engine.edge.settings import LimitSettings, RateLimit

KINDS: Final = {
    "/openapi.json": "application/json",
    "/docs": "text/html; charset=utf-8",
    "/docs/docs.js": "text/javascript; charset=utf-8",
    "/docs/swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "/docs/swagger-ui.css": "text/css; charset=utf-8",
    "/docs/favicon.png": "image/png",
    "/docs/LICENSE": "text/plain; charset=utf-8",
    "/docs/NOTICE": "text/plain; charset=utf-8",
}
SCRIPT: Final = "/docs/swagger-ui-bundle.js"


async def raw(api: Api, path: str, coding: str) -> tuple[httpx.Headers, bytes]:
    """A page as it comes over the wire, not decompressed."""
    async with api.http.stream("GET", path, headers={"Accept-Encoding": coding}) as answer:
        return answer.headers, b"".join([part async for part in answer.aiter_raw()])


async def test_the_description_is_the_document(api: Api) -> None:
    assert (await api.http.get("/openapi.json")).json() == json.loads(json.dumps(document()))


def test_every_page_is_known_here() -> None:
    assert {route.path for route in PAGES} == KINDS.keys()


@pytest.mark.parametrize(("path", "kind"), KINDS.items())
async def test_a_page_has_its_type_and_may_be_kept_but_not_trusted(api: Api, path: str, kind: str) -> None:
    answer = await api.http.get(path, headers={"X-Request-ID": "mine"})
    assert answer.status_code == 200
    headers = answer.headers
    assert headers["content-type"] == kind
    assert headers["x-request-id"] == "mine"
    assert headers["cache-control"] == "public, no-cache"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    policy = dict(part.strip().partition(" ")[::2] for part in headers["content-security-policy"].split(";"))
    assert (policy["default-src"], policy["script-src"], policy["connect-src"]) == ("'none'", "'self'", "'self'")
    assert policy["frame-ancestors"] == "'none'"
    head = await api.http.head(path)
    assert (head.status_code, head.content, head.headers["etag"]) == (200, b"", headers["etag"])
    assert head.headers["content-length"] == headers["content-length"]


@pytest.mark.parametrize("path", KINDS)
async def test_what_is_known_is_not_sent_again(api: Api, path: str) -> None:
    tag = (await api.http.get(path)).headers["etag"]
    for known in (tag, f'"other", {tag}', tag.removeprefix("W/"), "*"):
        answer = await api.http.get(path, headers={"If-None-Match": known})
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", tag), known
        assert "content-length" not in answer.headers
    for unknown in ('"other"', tag[:-2], ""):
        assert (await api.http.get(path, headers={"If-None-Match": unknown})).status_code == 200, unknown


async def test_pages_have_different_tags(api: Api) -> None:
    tags = [(await api.http.get(path)).headers["etag"] for path in KINDS]
    assert len(set(tags)) == len(KINDS)


@pytest.mark.parametrize("path", ["/openapi.json", SCRIPT, "/docs/swagger-ui.css"])
async def test_large_pages_come_compressed_to_who_takes_them_so(api: Api, path: str) -> None:
    headers, plain = await raw(api, path, "identity")
    assert "content-encoding" not in headers
    assert headers["vary"] == "accept-encoding"
    for coding in ("gzip", "br, gzip;q=0.5", "deflate, GZIP"):
        packed_headers, packed = await raw(api, path, coding)
        assert packed_headers["content-encoding"] == "gzip", coding
        assert packed_headers["etag"] == headers["etag"]
        assert int(packed_headers["content-length"]) == len(packed) < len(plain) / 3
        assert gzip.decompress(packed) == plain
    for coding in ("br", "gzip;q=0", "gzip; q=0.000", ""):
        assert "content-encoding" not in (await raw(api, path, coding))[0], coding


@pytest.mark.parametrize("path", KINDS)
async def test_pages_are_only_read(api: Api, path: str) -> None:
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        answer = await api.http.request(method, path)
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET"), method
        assert answer.json()["error"]["code"] == "METHOD_NOT_ALLOWED"


@pytest.mark.parametrize("path", ["/docs/", "/docs/../routes.py", "/docs/index.html", "/docs/README.md", "/openapi"])
async def test_nothing_else_is_served(api: Api, path: str) -> None:
    answer = await api.http.get(path)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "ROUTE_NOT_FOUND")


async def test_pages_count_for_the_public_limit(start: Start) -> None:
    limits = LimitSettings(
        orders=UNLIMITED.orders, queries=UNLIMITED.queries, address=UNLIMITED.address, public=RateLimit(1, 2)
    )
    async with start(limits) as api:
        answers = [await api.http.get("/docs") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert [answer.headers["x-ratelimit-remaining"] for answer in answers] == ["1", "0", "0"]
    assert answers[-1].headers["cache-control"] == "no-store"
    assert int(answers[-1].headers["retry-after"]) >= 1


async def test_the_page_asks_only_this_server(api: Api) -> None:
    page = (await api.http.get("/docs")).text
    wanted = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert wanted
    assert set(wanted) <= KINDS.keys()
    assert "<script>" not in page
    assert "style=" not in page


def test_the_package_has_the_pages() -> None:
    assets = resources.files("trade_engine.edge.rest.openapi") / "assets"
    for path in KINDS.keys() - {"/docs", "/openapi.json"}:
        assert (assets / path.rpartition("/")[2]).is_file(), path
    assert (assets / "index.html").is_file()
    assert (assets / "swagger-ui-bundle.js.LICENSE.txt").is_file()
