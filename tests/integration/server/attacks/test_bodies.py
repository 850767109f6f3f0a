"""Bodies that are more work than they look like, or look like something else: each is refused, and nobody waits."""

import gzip
import zlib
from collections.abc import Iterable
from contextlib import ExitStack
from itertools import product

import pytest

from tests.integration.server.service import Service
from tests.integration.server.wire import Connection, ask, request
from tests.support.images import image_id

MOST = 1_000_000  # bytes

GOOD = b'{"metadata": {"a": "b"}}'


NOT_FOUND = (404, "itemNotFound")


def put(body: bytes, *headers: str, image: str = "none") -> bytes:
    """Write a request to replace metadata: of no image, so that nothing is changed where the body is good."""
    path = f"/v2/openstack/images/{image}/metadata"
    return request(path, f"Content-Length: {len(body)}", *headers, method="PUT") + body


def metadata(items: bytes) -> bytes:
    return b'{"metadata": {%b}}' % items


def of_keys(keys: Iterable[str], last: bytes = b'""') -> bytes:
    """Write metadata of many items."""
    return metadata(b'"",'.join(f'"{key}":'.encode() for key in keys) + last)


def filled(begin: bytes, middle: bytes, end: bytes = b"") -> bytes:
    """Write a body of the largest size that is taken."""
    return begin + middle * ((MOST - len(begin) - len(end)) // len(middle)) + end


NUMBERED = [f"{number:05x}" for number in range(80_000)]
# Whoever hashes text as Java does, or PHP did, finds all of these in one place.
COLLIDING = ["".join(halves) for halves in product(("Aa", "BB"), repeat=14)]

WRONG = {
    "nested lists": filled(b"", b"["),
    "nested objects": filled(b"", b'{"a":'),
    "as deep as JSON may be": b"[" * 1000 + b"]" * 1000,
    "as deep as JSON may be, where a text belongs": metadata(b'"a":' + b"[" * 1000 + b"]" * 1000),
    "a list of many": filled(b'{"metadata": [', b"{},", b"{}]}"),
    "a text of many bytes": filled(b'{"metadata": {"a": "', b"x", b'"}}'),
    "a text of escapes": filled(b'{"metadata": {"a": "', b"\\u0000", b'"}}'),
    "a key of many bytes": filled(b'{"metadata": {"', b"x", b'": ""}}'),
    "many keys, the last of them wrong": of_keys(NUMBERED, last=b"1"),
    "a number of many digits": filled(b'{"metadata": {"a": ', b"9", b"}}"),
    "a fraction of many digits": filled(b'{"metadata": {"a": 0.', b"1", b"}}"),
    "a number beyond all": metadata(b'"a": 1e999999999'),
    "a number below all": metadata(b'"a": 1e-999999999'),
    "a number that is none": metadata(b'"a": NaN'),
    "a number without an end": metadata(b'"a": -Infinity'),
    "white space": filled(b"", b" "),
    "half a surrogate": metadata(b'"a": "\\ud800"'),
    "the other half": metadata(b'"a": "\\udc00"'),
    "the halves in the wrong order": metadata(b'"a": "\\udc00\\ud800"'),
    "half a surrogate in UTF-8": metadata(b'"a": "\xed\xa0\x80"'),
    "a slash in overlong UTF-8": metadata(b'"a": "\xc0\xaf"'),
    "beyond Unicode": metadata(b'"a": "\xf4\x90\x80\x80"'),
    "a byte order mark": b"\xef\xbb\xbf" + GOOD,
    "UTF-16": GOOD.decode().encode("utf-16"),
    "UTF-32": GOOD.decode().encode("utf-32-le"),
    "UTF-7": GOOD.decode().replace("{", "+AHs-").encode(),
    "NUL": metadata(b'"a": "\0"'),
    "a line break": metadata(b'"a": "\n"'),
    "NUL behind it": GOOD + b"\0",
    "two documents": GOOD * 2,
    "a comment": b"/**/" + GOOD,
    "Python": GOOD.replace(b'"', b"'"),
    "YAML": b"metadata: {a: b}",
    "nothing": b"",
    "a prototype": metadata(b'"__proto__": {"a": "b"}'),
    "a reference": metadata(b'"$ref": "#/"'),
    "a key in other letters": metadata('"\N{FULLWIDTH LATIN SMALL LETTER A}": "b"'.encode()),
    "a key with a line break at its end": metadata(b'"a\\n": "b"'),
}


@pytest.mark.parametrize("body", WRONG.values(), ids=WRONG.keys())
def test_a_body_that_is_not_what_it_may_be_is_refused_in_one_line(connection: Connection, body: bytes) -> None:
    assert len(body) <= MOST
    answer = connection.ask(put(body))
    assert answer.fault == (400, "badRequest")
    assert answer.body.decode().isprintable()
    assert len(answer.body) < 1000
    assert connection.ask(put(GOOD)).fault == NOT_FOUND


@pytest.mark.parametrize("keys", [NUMBERED, COLLIDING], ids=["many", "colliding"])
def test_many_keys_are_too_many_and_no_more_work_than_that(connection: Connection, keys: list[str]) -> None:
    assert connection.ask(put(of_keys(keys), image=image_id(1))).fault == (403, "forbidden")


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        pytest.param(of_keys(NUMBERED), NOT_FOUND, id="many keys"),
        pytest.param(of_keys(COLLIDING), NOT_FOUND, id="colliding keys"),
        pytest.param(of_keys(["a"] * 80_000), NOT_FOUND, id="equal keys"),
        pytest.param(WRONG["a list of many"], (400, "badRequest"), id="a list of many"),
    ],
)
def test_others_are_answered_while_bodies_are_much_work(target: Service, body: bytes, fault: tuple[int, str]) -> None:
    with ExitStack() as stack:
        busy = [stack.enter_context(Connection(target.port)) for _ in range(10)]
        for each in busy:
            each.send(put(body))
        assert [ask(target.port, request("/v2")).status for _ in range(20)] == [200] * 20
        assert [each.receive().fault for each in busy] == [fault] * len(busy)


BOMB = gzip.compress(bytes(10_000_000))
PACKED = {
    "gzip": put(BOMB, "Content-Encoding: gzip"),
    "gzip in capitals": put(BOMB, "Content-Encoding: GZIP"),
    "gzip of old": put(BOMB, "Content-Encoding: x-gzip"),
    "gzip twice": put(gzip.compress(BOMB), "Content-Encoding: gzip, gzip"),
    "gzip after nothing": put(BOMB, "Content-Encoding: identity, gzip"),
    "gzip in another header": put(BOMB, "Content-Encoding: identity", "Content-Encoding: gzip"),
    "deflate": put(zlib.compress(bytes(10_000_000)), "Content-Encoding: deflate"),
    "something": put(GOOD, "Content-Encoding: br"),
    "a form": put(b"metadata=a", "Content-Type: application/x-www-form-urlencoded"),
    "a form in parts": put(b"--x\r\n\r\n--x--", "Content-Type: multipart/form-data; boundary=x"),
    "XML": put(b'<!DOCTYPE a [<!ENTITY b SYSTEM "/etc/passwd">]><a>&b;</a>', "Content-Type: application/xml"),
    "a pickle": put(b"cos\nsystem\n.", "Content-Type: application/x-python-pickle"),
    "two things": put(GOOD, "Content-Type: application/json", "Content-Type: text/plain"),
}


@pytest.mark.parametrize("raw", PACKED.values(), ids=PACKED.keys())
def test_what_is_packed_or_no_json_is_refused_without_a_look_into_it(connection: Connection, raw: bytes) -> None:
    assert connection.ask(raw).fault == (415, "badMediaType")
    assert connection.ask(put(GOOD)).fault == NOT_FOUND


def test_a_packed_body_that_is_not_said_to_be_one_is_no_json(connection: Connection) -> None:
    assert connection.ask(put(BOMB)).fault == (400, "badRequest")


def test_a_body_is_taken_up_to_its_bound_and_not_beyond(connection: Connection) -> None:
    padding = b" " * (MOST - len(GOOD))
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (GOOD, padding, b" ")) + b"0\r\n\r\n"
    in_chunks = request("/v2/openstack/images/none/metadata", "Transfer-Encoding: chunked", method="PUT") + chunks
    assert connection.ask(put(GOOD + padding)).fault == NOT_FOUND
    assert connection.ask(put(GOOD + padding + b" ")).fault == (413, "overLimit")
    assert connection.ask(in_chunks).fault == (413, "overLimit")
    assert connection.ask(put(GOOD)).fault == NOT_FOUND
