"""Request smuggling: a request whose end a proxy could find elsewhere is rejected.

Each of these requests is followed by a second one. The service processes it only if RFC 9112 leaves no doubt where the
first one ends; otherwise it closes the connection.
"""

import pytest

from tests.integration.server.conftest import LIST
from tests.integration.server.wire import JSON, Connection, request
from tests.support.images import image_id

BODY = b'{"metadata": {}}'
SIZE = len(BODY)
CHUNKS = b"%x\r\n%b\r\n0\r\n\r\n" % (SIZE, BODY)

# If this was processed, the catalog would change, even without a response.
DELETE = request(f"/v2/openstack/images/{image_id(1)}", method="DELETE")


def put(*headers: str, body: bytes = BODY) -> bytes:
    """Build a request whose body is read to its end, and which changes nothing: the image does not exist."""
    return request("/v2/openstack/images/none/metadata", JSON, *headers, method="PUT") + body


def chunked(body: bytes) -> bytes:
    return put("Transfer-Encoding: chunked", body=body)


PLAIN = put(f"Content-Length: {SIZE}")

AMBIGUOUS = {
    "a length, then chunks": put(f"Content-Length: {SIZE}", "Transfer-Encoding: chunked", body=CHUNKS),
    "chunks, then a length": put("Transfer-Encoding: chunked", f"Content-Length: {SIZE}", body=CHUNKS),
    "chunks and a zero length": put("Transfer-Encoding: chunked", "Content-Length: 0", body=CHUNKS),
    "two lengths": put(f"Content-Length: {SIZE}", "Content-Length: 0"),
    "the same length twice": put(f"Content-Length: {SIZE}", f"Content-Length: {SIZE}"),
    "lengths in different case": put(f"CONTENT-LENGTH: {SIZE}", "content-length: 0"),
    "a list of lengths": put(f"Content-Length: {SIZE}, {SIZE}"),
    "a length with a plus": put(f"Content-Length: +{SIZE}"),
    "a length with a minus": put(f"Content-Length: -{SIZE}"),
    "a length with a space in it": put(f"Content-Length: {SIZE} 0"),
    "a length in hexadecimal": put(f"Content-Length: 0x{SIZE:x}"),
    "a length in Arabic digits": put(f"Content-Length: {SIZE}").replace(b": 16", ": ١٦".encode()),
    "a length after a vertical tab": put(f"Content-Length: \v{SIZE}"),
    "an empty length": put("Content-Length: "),
    "a length beyond 64 bits": put(f"Content-Length: {2**64 + SIZE}"),
    "a space before the colon of a length": put(f"Content-Length : {SIZE}"),
    "a space before the colon of a coding": put("Transfer-Encoding : chunked", body=CHUNKS),
    "a last coding other than chunked": put("Transfer-Encoding: chunked, identity", body=CHUNKS),
    "a coding before the chunks": put("Transfer-Encoding: gzip, chunked", body=CHUNKS),
    "identity before the chunks": put("Transfer-Encoding: identity, chunked", body=CHUNKS),
    "another coding": put("Transfer-Encoding: gzip", body=CHUNKS),
    "identity": put("Transfer-Encoding: identity", body=CHUNKS),
    "identity and a length": put("Transfer-Encoding: identity", f"Content-Length: {SIZE}"),
    "an empty coding, and a length": put("Transfer-Encoding: ", f"Content-Length: {SIZE}"),
    "an unknown coding": put("Transfer-Encoding: xchunked", body=CHUNKS),
    "a coding in quotes": put('Transfer-Encoding: "chunked"', body=CHUNKS),
    "a coding with a parameter": put("Transfer-Encoding: chunked;a=b", body=CHUNKS),
    "a coding after a vertical tab": put("Transfer-Encoding: \vchunked", body=CHUNKS),
    "a coding twice": put("Transfer-Encoding: chunked, chunked", body=CHUNKS),
    "a coding in two headers": put("Transfer-Encoding: chunked", "Transfer-Encoding: chunked", body=CHUNKS),
    "another coding in the first header": put("Transfer-Encoding: identity", "Transfer-Encoding: chunked", body=CHUNKS),
    "chunks in HTTP/1.0": put("Transfer-Encoding: chunked", body=CHUNKS).replace(b"HTTP/1.1", b"HTTP/1.0"),
    "a folded coding": put("Transfer-Encoding:", " chunked", body=CHUNKS),
    "a coding that is folded into another header": put("X-Folded: a", "\tTransfer-Encoding: chunked", body=CHUNKS),
    "a coding after a line feed alone": put("X-Line: a\nTransfer-Encoding: chunked", f"Content-Length: {SIZE}"),
    "a coding after a carriage return alone": put("X-Line: a\rTransfer-Encoding: chunked", f"Content-Length: {SIZE}"),
    "line feeds alone": PLAIN.replace(b"\r\n", b"\n"),
    "a line feed alone after the request line": PLAIN.replace(b" HTTP/1.1\r\n", b" HTTP/1.1\n"),
    "a line feed alone at the end of the head": PLAIN.replace(b"\r\n\r\n", b"\r\n\n"),
    "two carriage returns": put("X-Line: a\r", f"Content-Length: {SIZE}"),
    "a header without a colon": put("X-Nothing", f"Content-Length: {SIZE}"),
    "white space before the first header": PLAIN.replace(b"Host", b" X-First: a\r\nHost"),
    "a space before the method": b" " + PLAIN,
    "tabs in the request line": PLAIN.replace(b" ", b"\t", 2),
    "a space in the target": PLAIN.replace(b"/none/", b"/no ne/"),
    "text after the version": PLAIN.replace(b"HTTP/1.1", b"HTTP/1.1 HTTP/1.1"),
    "a version in lower case": PLAIN.replace(b"HTTP/1.1", b"http/1.1"),
    "no version": b"PUT /v2\r\n\r\n",
    "the HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a chunk's size in C syntax": chunked(b"0x%b" % CHUNKS),
    "a chunk's size with a plus": chunked(b"+%b" % CHUNKS),
    "a chunk's size with a minus": chunked(b"-%b" % CHUNKS),
    "a chunk's size in Python syntax": chunked(b"0_%b" % CHUNKS),
    "a chunk's size beyond 64 bits": chunked(b"1%016x\r\n%b\r\n0\r\n\r\n" % (SIZE, BODY)),
    "no size of a chunk": chunked(b"\r\n%b\r\n0\r\n\r\n" % BODY),
    "a space after a chunk's size": chunked(b"%x \r\n%b\r\n0\r\n\r\n" % (SIZE, BODY)),
    "a line feed alone after a chunk's size": chunked(b"%x\n%b\r\n0\r\n\r\n" % (SIZE, BODY)),
    "a line feed alone after a chunk extension": chunked(b"%x;a\n%b\r\n0\r\n\r\n" % (SIZE, BODY)),
    "a carriage return alone in a chunk extension": chunked(b"%x;a\rb\r\n%b\r\n0\r\n\r\n" % (SIZE, BODY)),
    "a line feed alone after a chunk": chunked(b"%x\r\n%b\n0\r\n\r\n" % (SIZE, BODY)),
    "no line break after a chunk": chunked(b"%x\r\n%b0\r\n\r\n" % (SIZE, BODY)),
    "a line feed alone after the last chunk": chunked(b"%x\r\n%b\r\n0\r\n\n" % (SIZE, BODY)),
    "a length as trailer": chunked(CHUNKS[:-2] + b"Content-Length: %d\r\n\r\n" % len(DELETE)),
    "a coding as trailer": chunked(CHUNKS[:-2] + b"Transfer-Encoding: chunked\r\n\r\n"),
}

# Valid; the numbers are the sections of RFC 9112.
UNAMBIGUOUS = {
    "a length": PLAIN,
    "white space around a length (5)": put(f"Content-Length:\t {SIZE} \t"),
    "zeros before a length (6.2)": put(f"Content-Length: 000{SIZE}"),
    "chunks": chunked(CHUNKS),
    "chunks in upper case (7)": put("transfer-encoding: CHUNKED", body=CHUNKS),
    "many zeros before a chunk's size (7.1)": chunked(b"0" * 100 + CHUNKS),
    "the last chunk's many zeros (7.1)": chunked(CHUNKS.replace(b"\r\n0\r\n", b"\r\n0000\r\n")),
    "chunk extensions (7.1.1)": chunked(b'%x;a="b;c"\r\n%b\r\n0;d\r\n\r\n' % (SIZE, BODY)),
    "trailers (7.1.2)": chunked(CHUNKS[:-2] + b"Host: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"),
    "empty lines before the request (2.2)": b"\r\n\r\n" + PLAIN,
    "an empty line after the body (2.2)": PLAIN + b"\r\n",
    "spaces in the request line (3)": PLAIN.replace(b" ", b"  ", 2),
    "a name with an underscore (5.1)": put("Transfer_Encoding: chunked", f"Content-Length: {SIZE}"),
    "a length that a proxy would drop (RFC 9110, 7.6.1)": put("Connection: Content-Length", f"Content-Length: {SIZE}"),
}

SKIPPED_BODIES = {
    "as the body of a GET": request("/nowhere", f"Content-Length: {len(DELETE)}") + DELETE,
    "in a chunk of a GET": request("/nowhere", "Transfer-Encoding: chunked")
    + b"%x\r\n%b\r\n0\r\n\r\n" % (len(DELETE), DELETE),
    "as the body of a DELETE": request("/nowhere", f"Content-Length: {len(DELETE)}", method="DELETE") + DELETE,
    "as the body of an unsupported method": request("/nowhere", f"Content-Length: {len(DELETE)}", method="POST")
    + DELETE,
}

ANNOUNCED = {
    "a length of 63 bits": (put(f"Content-Length: {2**63}"), [413]),
    "a length of 64 bits": (put(f"Content-Length: {2**64 - 1}"), [413]),
    "a chunk of 64 bits": (chunked(b"f" * 16 + b"\r\n"), []),
    "a body of a GET": (request(LIST, f"Content-Length: {2**63}"), [200]),
}

# The second request; its response has the status 405.
NEXT = request("/v2", "Connection: close", method="DELETE")


@pytest.mark.parametrize("raw", AMBIGUOUS.values(), ids=AMBIGUOUS.keys())
def test_ambiguous_request_is_rejected_and_closes_connection(connection: Connection, raw: bytes) -> None:
    connection.send(raw + DELETE)
    assert [response.fault for response in connection.receive_all()] == [(400, "badRequest")]


@pytest.mark.parametrize(
    "raw", [*UNAMBIGUOUS.values(), *SKIPPED_BODIES.values()], ids=[*UNAMBIGUOUS.keys(), *SKIPPED_BODIES.keys()]
)
def test_unambiguous_request_and_the_next_are_processed(connection: Connection, raw: bytes) -> None:
    connection.send(raw + NEXT)
    assert [response.fault for response in connection.receive_all()] == [(404, "itemNotFound"), (405, "badMethod")]


@pytest.mark.parametrize(("raw", "statuses"), ANNOUNCED.values(), ids=ANNOUNCED.keys())
def test_data_after_head_is_part_of_announced_body(connection: Connection, raw: bytes, statuses: list[int]) -> None:
    connection.send(raw + DELETE)
    assert [connection.receive().status for _ in statuses] == statuses
    connection.finish()
    assert connection.receive_all() == []
