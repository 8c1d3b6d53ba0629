"""Fixed files as answers: read and compressed once, with a tag, so that what a browser has is not sent again."""

import gzip
import hashlib
from typing import Final, NamedTuple

from trade_engine.edge.rest.call import Answer, Call

#: Smaller files are not worth compressing.
_COMPRESSED_FROM: Final = 1_000


class StaticFile(NamedTuple):
    """A file's bytes, the same ones compressed if that is worth it, and its headers."""

    content: bytes
    compressed: bytes | None
    tag: str
    headers: tuple[tuple[bytes, bytes], ...]


def static_file(content: bytes, kind: str, policy: str) -> StaticFile:
    """A file to be served.

    Args:
        content: its bytes.
        kind: its content type.
        policy: its Content-Security-Policy.
    """
    packed = len(content) >= _COMPRESSED_FROM
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    # Always asked for again, and then answered with 304: a new version of the server shows at once.
    headers = (
        (b"content-type", kind.encode()),
        # Weak: it is the same, compressed or not.
        (b"etag", b"W/" + tag.encode()),
        (b"vary", b"accept-encoding"),
        (b"cache-control", b"public, no-cache"),
        (b"content-security-policy", policy.encode()),
    )
    return StaticFile(content, gzip.compress(content, 6, mtime=0) if packed else None, tag, headers)


def answer_with(file: StaticFile, call: Call) -> Answer:
    """A file as its caller takes it: not at all if he has it, compressed if he can read that."""
    known = call.request.headers.get("if-none-match", "")
    if file.tag in known or known.strip() == "*":
        return Answer(b"", 304, file.headers, page=True)
    if file.compressed is not None and _takes_gzip(call.request.headers.get("accept-encoding", "")):
        return Answer(file.compressed, 200, (*file.headers, (b"content-encoding", b"gzip")), page=True)
    return Answer(file.content, 200, file.headers, page=True)


def _takes_gzip(accepted: str) -> bool:
    for part in accepted.lower().split(","):
        coding, _, weight = part.replace(" ", "").partition(";q=")
        if coding == "gzip":
            return weight.strip("0.") != "" or not weight
    return False
