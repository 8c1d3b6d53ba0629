"""Fixed pages: bytes encoded once, sent compressed to whom that is welcome, and not again to who has them."""

import gzip
import hashlib
from typing import Final, NamedTuple

from trade_engine.edge.rest.call import Answer, Call

#: Its styles are set by its script as well, hence inline ones; scripts only ever come as files.
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
#: Smaller pages are not worth compressing.
_COMPRESSED_FROM: Final = 1_000


class StaticPage(NamedTuple):
    """A page's bytes, the same ones compressed if that is worth it, and its headers."""

    content: bytes
    compressed: bytes | None
    tag: str
    headers: tuple[tuple[bytes, bytes], ...]


def static_page(content: bytes, kind: str) -> StaticPage:
    """A page of some bytes of a media type."""
    packed = len(content) >= _COMPRESSED_FROM
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    # Always asked for again, and then answered with 304: a new version of the server shows at once.
    headers = (
        (b"content-type", kind.encode()),
        # Weak: it is the same, compressed or not.
        (b"etag", b"W/" + tag.encode()),
        (b"vary", b"accept-encoding"),
        (b"cache-control", b"public, no-cache"),
        (b"content-security-policy", _POLICY.encode()),
    )
    return StaticPage(content, gzip.compress(content, 6, mtime=0) if packed else None, tag, headers)


def answer_page(call: Call, page: StaticPage) -> Answer:
    """The page, or that the caller has it already."""
    known = call.request.headers.get("if-none-match", "")
    if page.tag in known or known.strip() == "*":
        return Answer(b"", 304, page.headers, page=True)
    if page.compressed is not None and _takes_gzip(call.request.headers.get("accept-encoding", "")):
        return Answer(page.compressed, 200, (*page.headers, (b"content-encoding", b"gzip")), page=True)
    return Answer(page.content, 200, page.headers, page=True)


def _takes_gzip(accepted: str) -> bool:
    for part in accepted.lower().split(","):
        coding, _, weight = part.replace(" ", "").partition(";q=")
        if coding == "gzip":
            return weight.strip("0.") != "" or not weight
    return False
