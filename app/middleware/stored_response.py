"""Stored responses: ETag, gzip, 304."""

import gzip
import hashlib
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from starlette.types import Send
from werkzeug.http import parse_accept_header, parse_etags

Header = tuple[bytes, bytes]
_MIN_GZIP_BYTES = 1000
_MAX_PARSED_HEADER = 4096  # bytes, far more than clients send
_MAX_CACHED_HEADER = 200  # bytes
_GZIP_LEVEL = 1  # on these responses it saves nearly as much as the other levels, in a fraction of their time

# No cache may use a response for another project, nor without revalidating it.
_CACHE_HEADERS = [(b"cache-control", b"private, no-cache"), (b"vary", b"accept-encoding")]


class StoredResponse(NamedTuple):
    """A 200 response as it is sent, and the headers of the 304 that can replace it."""

    headers: list[Header]
    not_modified_headers: list[Header]
    body: bytes
    etag: str
    head: bytes  # the same headers, as HTTP/1.1 sends them
    not_modified_head: bytes
    operation: str

    def matches(self, if_none_match: bytes) -> bool:
        """Return whether the If-None-Match header contains the response's ETag. A very long header is ignored."""
        if if_none_match == self.not_modified_headers[0][1]:  # the usual case, without parsing
            return True
        if len(if_none_match) > _MAX_PARSED_HEADER:
            return False
        return parse_etags(if_none_match.decode("latin-1")).contains_weak(self.etag)


def accepts_gzip(accept_encoding: bytes) -> bool:
    """Return whether the Accept-Encoding header allows gzip. A very long header is ignored.

    Clients' usual values are cached, long ones are not.
    """
    if len(accept_encoding) <= _MAX_CACHED_HEADER:
        return _accepts_gzip(accept_encoding)
    return len(accept_encoding) <= _MAX_PARSED_HEADER and _accepts_gzip.__wrapped__(accept_encoding)


@lru_cache(maxsize=256)
def _accepts_gzip(accept_encoding: bytes) -> bool:
    return parse_accept_header(accept_encoding.decode("latin-1")).quality("gzip") > 0


def store_response(headers: list[Header], body: bytes, operation: str, *, compress: bool) -> StoredResponse:
    """Build the stored response of an operation's validated 200 response."""
    etag = hashlib.sha256(body).hexdigest()[:32]
    headers = [header for header in headers if header[0] != b"content-length"]
    if compress and len(body) >= _MIN_GZIP_BYTES:
        body = gzip.compress(body, _GZIP_LEVEL, mtime=0)
        etag += "-gzip"
        headers.append((b"content-encoding", b"gzip"))
    headers.append((b"content-length", str(len(body)).encode()))
    not_modified_headers = [(b"etag", f'"{etag}"'.encode()), *_CACHE_HEADERS]
    not_modified_head = format_headers(not_modified_headers)
    head = not_modified_head + format_headers(headers)
    headers = [*not_modified_headers, *headers]
    return StoredResponse(headers, not_modified_headers, body, etag, head, not_modified_head, operation)


def format_headers(headers: Iterable[Header]) -> bytes:
    """Return headers as HTTP/1.1 sends them."""
    return b"".join([b"%b: %b\r\n" % header for header in headers])


async def send_stored(response: StoredResponse, if_none_match: bytes, method: str, send: Send) -> None:
    """Send a stored response, or 304 if the client has it."""
    if if_none_match and response.matches(if_none_match):
        await send({"type": "http.response.start", "status": 304, "headers": response.not_modified_headers})
        await send({"type": "http.response.body", "body": b""})
    else:
        await send({"type": "http.response.start", "status": 200, "headers": response.headers})
        await send({"type": "http.response.body", "body": response.body if method == "GET" else b""})
