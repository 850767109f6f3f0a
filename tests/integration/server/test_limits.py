"""Limits of the size of requests, and timeouts."""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest

from app.contract.document import Contract
from tests.integration.server.conftest import LIST
from tests.integration.server.service import Service, serving, with_timeouts
from tests.integration.server.wire import JSON, Connection, fetch, request


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        (request(f"{LIST}?name={'x' * 17_000}"), (414, "computeFault")),
        (request(LIST, f"X-Long: {'x' * 66_000}"), (431, "computeFault")),
        (request(LIST, *(f"X-{number}: x" for number in range(101))), (431, "computeFault")),
    ],
    ids=["URL", "bytes", "headers"],
)
def test_too_long_head_is_rejected(service: Service, raw: bytes, fault: tuple[int, str]) -> None:
    with Connection(service.port) as connection:
        response = connection.fetch(raw)
        assert response.fault == fault
        assert response.headers["connection"] == "close"
        assert connection.receive_if_any() is None


@pytest.mark.parametrize("first", [10, 500, 65_000, 66_000])
def test_too_long_head_is_rejected_in_pieces_of_any_size(connection: Connection, first: int) -> None:
    raw = request(LIST, f"X-Long: {'x' * 66_000}")
    connection.send(raw[:first])
    time.sleep(0.05)
    connection.send(raw[first:])
    assert connection.receive().status == 431


def test_endless_head_is_rejected_at_the_limit(service: Service) -> None:
    with Connection(service.port) as connection:
        connection.send(request(LIST)[:-2])
        with suppress(ConnectionError):  # the server may close the connection first
            for number in range(100):
                connection.send(b"X-%d: %b\r\n" % (number, b"x" * 1000))
        response = connection.receive_if_any()
        assert response is None or response.status == 431  # the response is lost if more data was in transit


@pytest.mark.parametrize(
    "more",
    [b"0\r\nX-Long: " + b"x" * 66_000, b"0\r\n" + b"X-Many: x\r\n" * 6_000, b"1;" + b"x" * 66_000],
    ids=["trailer", "trailers", "chunk extension"],
)
def test_too_long_trailers_and_chunk_extensions_are_rejected(connection: Connection, more: bytes) -> None:
    connection.send(
        request(f"{LIST[:-7]}/x/metadata", JSON, "Transfer-Encoding: chunked", method="PUT") + b"2\r\n{}\r\n"
    )
    time.sleep(0.05)
    connection.send(more)
    assert connection.receive().fault == (431, "computeFault")
    assert connection.receive_if_any() is None


@pytest.mark.parametrize("more", [b"0\r\nX-Long: " + b"x" * 66_000, b"x\r\n"], ids=["too long", "malformed"])
def test_invalid_body_after_response_closes_connection_without_second_response(
    connection: Connection, more: bytes
) -> None:
    assert connection.fetch(request(LIST, "Transfer-Encoding: chunked")).status == 200
    connection.send(more)
    assert connection.receive_if_any() is None


def test_request_at_the_limits_is_accepted(service: Service) -> None:
    raw = request(f"{LIST}?name={'x' * 16_000}", *(f"X-{number}: {'x' * 495}" for number in range(98)))
    assert 65_000 < len(raw) <= 65_536
    assert fetch(service.port, raw).status == 200


def test_too_long_request_is_rejected_after_earlier_responses(connection: Connection) -> None:
    connection.send(request(f"{LIST}?limit=1"), request(LIST, f"X-Long: {'x' * 66_000}"))
    assert connection.receive().status == 200
    assert connection.receive().status == 431


INCOMPLETE_BODY = request(f"{LIST[:-7]}/x/metadata", JSON, "Content-Length: 9", method="PUT") + b"{"


@pytest.fixture(scope="module")
def short_timeouts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    command = with_timeouts(head=1, body=1, write=1)
    with serving(tmp_path_factory.mktemp("short_timeouts"), command=command) as service:
        yield service


def seconds_until_closed(connection: Connection) -> float:
    begin = time.monotonic()
    connection.receive_if_any()
    return time.monotonic() - begin


@pytest.mark.parametrize(
    ("first", "rest"),
    [(b"", b""), (request(LIST), b"\r\n"), (request("/v2/openstack/images", "Content-Length: 9", method="POST"), b"{")],
    ids=["no request", "empty line after a response", "incomplete body after a response"],
)
def test_connection_without_complete_request_is_closed(short_timeouts: Service, first: bytes, rest: bytes) -> None:
    """Without its own timeouts, the service would wait forever in the second and third case."""
    with Connection(short_timeouts.port) as connection:
        if first:
            connection.fetch(first)
        connection.send(rest)
        assert 0.5 < seconds_until_closed(connection) < 5


@pytest.mark.parametrize(
    ("raw", "fault"), [(request(LIST)[:30], (408, "computeFault")), (INCOMPLETE_BODY, (400, "badRequest"))]
)
def test_incomplete_request_times_out(short_timeouts: Service, raw: bytes, fault: tuple[int, str]) -> None:
    with Connection(short_timeouts.port) as connection:
        assert connection.fetch(raw).fault == fault
        assert connection.receive_if_any() is None


CONTRACT = Contract.load(secured=False).document


@pytest.mark.parametrize(
    ("status", "name", "query", "headers"),
    [
        (408, "RequestTimeout", "", []),
        (414, "UriTooLong", f"?{'x' * 17_000}", []),
        (431, "HeadersTooLarge", "", [f"X-Long: {'x' * 66_000}"]),
    ],
)
def test_rejection_of_a_head_is_a_documented_response_of_each_operation(
    short_timeouts: Service, status: int, name: str, query: str, headers: list[str]
) -> None:
    documented = CONTRACT["components"]["responses"][name]
    with ExitStack() as connections:
        received = []
        for path, item in CONTRACT["paths"].items():
            for method, operation in item.items():
                assert operation["responses"][str(status)] == {"$ref": f"#/components/responses/{name}"}
                connection = connections.enter_context(Connection(short_timeouts.port))
                target = path.format(tenant_id="x", image_id="y", key="z") + query
                connection.send(request(target, *headers, method=method.upper())[: -2 if status == 408 else None])
                received.append(connection)
        for connection in received:
            response = connection.receive()
            example = documented["content"]["application/json"]["example"]
            assert (response.status, response.document) == (status, example)
            assert documented["headers"].keys() <= response.headers.keys()


def test_client_that_does_not_read_is_disconnected(short_timeouts: Service) -> None:
    large = request("/ui/swagger-ui-bundle.js")
    size = len(fetch(short_timeouts.port, large).body)
    received, count = 0, 20  # more responses than the buffers of both sides can hold
    with socket.create_connection(("127.0.0.1", short_timeouts.port), timeout=10) as client, suppress(ConnectionError):
        client.sendall(large * count)
        time.sleep(3)
        while data := client.recv(1_000_000):
            received += len(data)
    assert received < size * count
