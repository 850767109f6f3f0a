"""Stored responses: ETag, gzip, 304."""

import gzip
import hashlib
from functools import lru_cache
from typing import NamedTuple

from starlette.types import Send
from werkzeug.http import parse_accept_header, parse_etags

Header = tuple[bytes, bytes]
_MIN_GZIP_BYTES = 1000  # bytes
_MAX_CACHED_HEADER = 200  # bytes
_GZIP_LEVEL = 1  # of gzip's levels: on these answers it saves nearly as much as the others, in a fraction of their time

# Nobody may keep an answer for another project, nor use one without asking whether it still holds.
_CACHE_HEADERS = [(b"cache-control", b"private, no-cache"), (b"vary", b"accept-encoding")]


class StoredResponse(NamedTuple):
    """An answer as it goes out, whole or to those who have it."""

    whole: list[Header]
    unchanged: list[Header]
    body: bytes
    etag: str

    def is_known(self, if_none_match: bytes) -> bool:
        """Tell whether a client that sends this has the answer: most send back the one ETag that they were given."""
        if if_none_match == self.unchanged[0][1]:
            return True
        return parse_etags(if_none_match.decode("latin-1")).contains_weak(self.etag)


def accepts_gzip(accept_encoding: bytes) -> bool:
    """Tell whether a client takes gzip. What is long is no client's own, and not kept in memory."""
    return (
        _accepts_gzip(accept_encoding)
        if len(accept_encoding) <= _MAX_CACHED_HEADER
        else _accepts_gzip.__wrapped__(accept_encoding)
    )


@lru_cache(maxsize=256)
def _accepts_gzip(accept_encoding: bytes) -> bool:
    return parse_accept_header(accept_encoding.decode("latin-1")).quality("gzip") > 0


def store_response(headers: list[Header], body: bytes, *, compressed: bool) -> StoredResponse:
    """Build the stored response of a validated 200 response."""
    etag = hashlib.sha256(body).hexdigest()[:32]
    described = [header for header in headers if header[0] != b"content-length"]
    if compressed and len(body) >= _MIN_GZIP_BYTES:
        body = gzip.compress(body, _GZIP_LEVEL, mtime=0)
        etag += "-gzip"
        described.append((b"content-encoding", b"gzip"))
    described.append((b"content-length", str(len(body)).encode()))
    unchanged = [(b"etag", f'"{etag}"'.encode()), *_CACHE_HEADERS]
    return StoredResponse([*unchanged, *described], unchanged, body, etag)


async def send_stored(answer: StoredResponse, if_none_match: bytes, method: str, send: Send) -> None:
    """Send a stored response, or 304 if the client has it."""
    if if_none_match and answer.is_known(if_none_match):
        await send({"type": "http.response.start", "status": 304, "headers": answer.unchanged})
        await send({"type": "http.response.body", "body": b""})
    else:
        await send({"type": "http.response.start", "status": 200, "headers": answer.whole})
        await send({"type": "http.response.body", "body": answer.body if method == "GET" else b""})
