"""Validation of request heads (request line and headers), beyond what httptools validates."""

from http import HTTPStatus

Headers = list[tuple[bytes, bytes]]

# Limits of a request head. The same number of bytes limits trailers and chunk extensions.
MAX_HEAD_BYTES, MAX_URL_BYTES, MAX_HEADERS = 65_536, 16_384, 100


def validate_head(url: bytes, version: str, headers: Headers, received: int) -> HTTPStatus | None:
    """Return the status with which to reject a request of which so many bytes were received, or None."""
    if len(url) > MAX_URL_BYTES:
        return HTTPStatus.REQUEST_URI_TOO_LONG
    if len(headers) > MAX_HEADERS or (received > MAX_HEAD_BYTES and is_too_long(url, headers)):
        return HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
    return None if _is_unambiguous(version, headers) else HTTPStatus.BAD_REQUEST


def is_too_long(url: bytes, headers: Headers) -> bool:
    """Return whether URL and headers exceed the limit."""
    return len(url) + sum(len(name) + len(value) for name, value in headers) > MAX_HEAD_BYTES


def take_host_from_url(url: bytes, headers: Headers) -> None:
    """Replace the Host header by the host of an absolute URL, which takes precedence (RFC 9112, section 3.2.2)."""
    host = url.partition(b"://")[2].partition(b"/")[0]
    if host:
        headers[:] = [(name, host if name == b"host" else value) for name, value in headers]


def without_upgrade(method: bytes, url: bytes, version: str, headers: Headers) -> bytes:
    """Return a request head without its Upgrade header."""
    lines = [method + b" " + url + b" HTTP/" + version.encode("ascii")]
    lines += [name + b": " + value for name, value in headers if name != b"upgrade"]
    return b"\r\n".join([*lines, b"", b""])


def _is_unambiguous(version: str, headers: Headers) -> bool:
    """Return whether any proxy parses this head as the same request (RFC 9112, sections 2.3, 3.2 and 6.1).

    httptools accepts version 2.0, a missing or repeated Host, and transfer codings that it does not decode.
    """
    names = [name for name, _ in headers]
    hosts, has_coding = names.count(b"host"), b"transfer-encoding" in names
    if version == "1.0":  # has neither Host nor Transfer-Encoding
        return hosts <= 1 and not has_coding
    return version == "1.1" and hosts == 1 and (not has_coding or _is_chunked(headers))


def _is_chunked(headers: Headers) -> bool:
    return [value.lower() for name, value in headers if name == b"transfer-encoding"] == [b"chunked"]
