"""Request bodies that are expensive to process or not what they seem are rejected without delay for others."""

import gzip
import zlib
from collections.abc import Iterable
from contextlib import ExitStack
from itertools import product

import pytest

from tests.integration.server.service import Service
from tests.integration.server.wire import JSON, Connection, fetch, request
from tests.support.images import image_id

MAX_BYTES = 1_000_000

VALID = b'{"metadata": {"a": "b"}}'


NOT_FOUND = (404, "itemNotFound")


def put(body: bytes, *headers: str, content_type: str = JSON, image: str = "none") -> bytes:
    """Build a request that replaces metadata of an image that does not exist, so that it changes nothing."""
    path = f"/v2/openstack/images/{image}/metadata"
    return request(path, f"Content-Length: {len(body)}", content_type, *headers, method="PUT") + body


def metadata(items: bytes) -> bytes:
    return b'{"metadata": {%b}}' % items


def of_keys(keys: Iterable[str], last: bytes = b'""') -> bytes:
    return metadata(b'"",'.join(f'"{key}":'.encode() for key in keys) + last)


def filled(begin: bytes, middle: bytes, end: bytes = b"") -> bytes:
    """Build a body of the maximum size."""
    return begin + middle * ((MAX_BYTES - len(begin) - len(end)) // len(middle)) + end


NUMBERED = [f"{number:05x}" for number in range(80_000)]
# These keys collide in hash functions such as those of Java and of old versions of PHP.
COLLIDING = ["".join(halves) for halves in product(("Aa", "BB"), repeat=14)]

INVALID = {
    "nested lists": filled(b"", b"["),
    "nested objects": filled(b"", b'{"a":'),
    "nested as deep as the parser allows": b"[" * 1000 + b"]" * 1000,
    "nested value as deep as the parser allows": metadata(b'"a":' + b"[" * 1000 + b"]" * 1000),
    "a long list": filled(b'{"metadata": [', b"{},", b"{}]}"),
    "a long text": filled(b'{"metadata": {"a": "', b"x", b'"}}'),
    "a text of escapes": filled(b'{"metadata": {"a": "', b"\\u0000", b'"}}'),
    "a long key": filled(b'{"metadata": {"', b"x", b'": ""}}'),
    "many keys, the last value invalid": of_keys(NUMBERED, last=b"1"),
    "a number of many digits": filled(b'{"metadata": {"a": ', b"9", b"}}"),
    "a fraction of many digits": filled(b'{"metadata": {"a": 0.', b"1", b"}}"),
    "overflow": metadata(b'"a": 1e999999999'),
    "underflow": metadata(b'"a": 1e-999999999'),
    "NaN": metadata(b'"a": NaN'),
    "infinity": metadata(b'"a": -Infinity'),
    "white space": filled(b"", b" "),
    "high surrogate": metadata(b'"a": "\\ud800"'),
    "low surrogate": metadata(b'"a": "\\udc00"'),
    "reversed surrogates": metadata(b'"a": "\\udc00\\ud800"'),
    "surrogate in UTF-8": metadata(b'"a": "\xed\xa0\x80"'),
    "a slash in overlong UTF-8": metadata(b'"a": "\xc0\xaf"'),
    "beyond Unicode": metadata(b'"a": "\xf4\x90\x80\x80"'),
    "a byte order mark": b"\xef\xbb\xbf" + VALID,
    "UTF-16": VALID.decode().encode("utf-16"),
    "UTF-32": VALID.decode().encode("utf-32-le"),
    "UTF-7": VALID.decode().replace("{", "+AHs-").encode(),
    "NUL": metadata(b'"a": "\0"'),
    "a line break": metadata(b'"a": "\n"'),
    "NUL at the end": VALID + b"\0",
    "two documents": VALID * 2,
    "a comment": b"/**/" + VALID,
    "Python": VALID.replace(b'"', b"'"),
    "YAML": b"metadata: {a: b}",
    "nothing": b"",
    "a prototype": metadata(b'"__proto__": {"a": "b"}'),
    "a reference": metadata(b'"$ref": "#/"'),
    "a full-width key": metadata('"\N{FULLWIDTH LATIN SMALL LETTER A}": "b"'.encode()),
    "a key with a line break at its end": metadata(b'"a\\n": "b"'),
}


@pytest.mark.parametrize("body", INVALID.values(), ids=INVALID.keys())
def test_invalid_body_is_rejected_with_short_message(connection: Connection, body: bytes) -> None:
    assert len(body) <= MAX_BYTES
    response = connection.fetch(put(body))
    assert response.fault == (400, "badRequest")
    assert response.body.decode().isprintable()
    assert len(response.body) < 1000
    assert connection.fetch(put(VALID)).fault == NOT_FOUND


@pytest.mark.parametrize("keys", [NUMBERED, COLLIDING], ids=["many", "colliding"])
def test_many_keys_are_rejected_by_the_quota(connection: Connection, keys: list[str]) -> None:
    assert connection.fetch(put(of_keys(keys), image=image_id(1))).fault == (403, "forbidden")


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        pytest.param(of_keys(NUMBERED), NOT_FOUND, id="many keys"),
        pytest.param(of_keys(COLLIDING), NOT_FOUND, id="colliding keys"),
        pytest.param(of_keys(["a"] * 80_000), NOT_FOUND, id="equal keys"),
        pytest.param(INVALID["a long list"], (400, "badRequest"), id="a long list"),
    ],
)
def test_expensive_bodies_do_not_block_other_requests(target: Service, body: bytes, fault: tuple[int, str]) -> None:
    with ExitStack() as stack:
        busy = [stack.enter_context(Connection(target.port)) for _ in range(10)]
        for each in busy:
            each.send(put(body))
        assert [fetch(target.port, request("/v2")).status for _ in range(20)] == [200] * 20
        assert [each.receive().fault for each in busy] == [fault] * len(busy)


BOMB = gzip.compress(bytes(10_000_000))
UNSUPPORTED = {
    "gzip": put(BOMB, "Content-Encoding: gzip"),
    "gzip in capitals": put(BOMB, "Content-Encoding: GZIP"),
    "x-gzip": put(BOMB, "Content-Encoding: x-gzip"),
    "gzip twice": put(gzip.compress(BOMB), "Content-Encoding: gzip, gzip"),
    "identity and gzip": put(BOMB, "Content-Encoding: identity, gzip"),
    "gzip in a second header": put(BOMB, "Content-Encoding: identity", "Content-Encoding: gzip"),
    "deflate": put(zlib.compress(bytes(10_000_000)), "Content-Encoding: deflate"),
    "br": put(VALID, "Content-Encoding: br"),
    "a form": put(b"metadata=a", content_type="Content-Type: application/x-www-form-urlencoded"),
    "a multipart form": put(b"--x\r\n\r\n--x--", content_type="Content-Type: multipart/form-data; boundary=x"),
    "XML": put(
        b'<!DOCTYPE a [<!ENTITY b SYSTEM "/etc/passwd">]><a>&b;</a>', content_type="Content-Type: application/xml"
    ),
    "a pickle": put(b"cos\nsystem\n.", content_type="Content-Type: application/x-python-pickle"),
    "two types": put(VALID, "Content-Type: text/plain"),
}


@pytest.mark.parametrize("raw", UNSUPPORTED.values(), ids=UNSUPPORTED.keys())
def test_unsupported_encoding_or_media_type_returns_415(connection: Connection, raw: bytes) -> None:
    assert connection.fetch(raw).fault == (415, "badMediaType")
    assert connection.fetch(put(VALID)).fault == NOT_FOUND


def test_undeclared_gzip_is_rejected(connection: Connection) -> None:
    assert connection.fetch(put(BOMB)).fault == (400, "badRequest")


def test_body_is_accepted_up_to_the_maximum_size(connection: Connection) -> None:
    padding = b" " * (MAX_BYTES - len(VALID))
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (VALID, padding, b" ")) + b"0\r\n\r\n"
    chunked = request("/v2/openstack/images/none/metadata", JSON, "Transfer-Encoding: chunked", method="PUT") + chunks
    assert connection.fetch(put(VALID + padding)).fault == NOT_FOUND
    assert connection.fetch(put(VALID + padding + b" ")).fault == (413, "overLimit")
    assert connection.fetch(chunked).fault == (413, "overLimit")
    assert connection.fetch(put(VALID)).fault == NOT_FOUND
