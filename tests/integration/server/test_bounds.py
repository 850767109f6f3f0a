"""What a request may be, and how long it may take."""

import socket
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.integration.server.conftest import LIST
from tests.integration.server.service import Service, impatient, serving
from tests.integration.server.wire import Connection, ask, request


@pytest.mark.parametrize(
    ("raw", "refused"),
    [
        (request(f"{LIST}?name={'x' * 17_000}"), (414, "computeFault")),
        (request(LIST, f"X-Long: {'x' * 66_000}"), (431, "computeFault")),
        (request(LIST, *(f"X-{number}: x" for number in range(101))), (431, "computeFault")),
    ],
    ids=["URL", "bytes", "headers"],
)
def test_a_head_is_bounded(service: Service, raw: bytes, refused: tuple[int, str]) -> None:
    with Connection(service.port) as connection:
        answer = connection.ask(raw)
        assert answer.fault == refused
        assert answer.headers["connection"] == "close"
        assert connection.receive_if_any() is None


@pytest.mark.parametrize("first", [10, 500, 65_000, 66_000])
def test_a_head_is_bounded_in_whatever_pieces_it_comes(connection: Connection, first: int) -> None:
    raw = request(LIST, f"X-Long: {'x' * 66_000}")
    connection.send(raw[:first])
    time.sleep(0.05)
    connection.send(raw[first:])
    assert connection.receive().status == 431


def test_a_head_that_goes_on_and_on_is_refused_when_it_is_too_long(service: Service) -> None:
    with Connection(service.port) as connection:
        connection.send(request(LIST)[:-2])
        with suppress(ConnectionError):  # it may be closed before all is sent
            for number in range(100):
                connection.send(b"X-%d: %b\r\n" % (number, b"x" * 1000))
        answer = connection.receive_if_any()
        assert answer is None or answer.status == 431  # the answer is lost where more was on its way


@pytest.mark.parametrize(
    "more",
    [b"0\r\nX-Long: " + b"x" * 66_000, b"0\r\n" + b"X-Many: x\r\n" * 6_000, b"1;" + b"x" * 66_000],
    ids=["a trailer", "trailers", "what a chunk says of itself"],
)
def test_what_comes_around_a_body_is_bounded_as_a_head_is(connection: Connection, more: bytes) -> None:
    connection.send(request(f"{LIST[:-7]}/x/metadata", "Transfer-Encoding: chunked", method="PUT") + b"2\r\n{}\r\n")
    time.sleep(0.05)
    connection.send(more)
    assert connection.receive().fault == (431, "computeFault")
    assert connection.receive_if_any() is None


@pytest.mark.parametrize("more", [b"0\r\nX-Long: " + b"x" * 66_000, b"x\r\n"], ids=["too long", "no HTTP"])
def test_what_is_wrong_with_the_body_of_an_answered_request_ends_the_connection_without_another_answer(
    connection: Connection, more: bytes
) -> None:
    assert connection.ask(request(LIST, "Transfer-Encoding: chunked")).status == 200
    connection.send(more)
    assert connection.receive_if_any() is None


def test_a_request_at_the_bounds_is_answered(service: Service) -> None:
    raw = request(f"{LIST}?name={'x' * 16_000}", *(f"X-{number}: {'x' * 495}" for number in range(98)))
    assert 65_000 < len(raw) <= 65_536
    assert ask(service.port, raw).status == 200


def test_what_came_before_is_answered_first(connection: Connection) -> None:
    connection.send(request(f"{LIST}?limit=1"), request(LIST, f"X-Long: {'x' * 66_000}"))
    assert connection.receive().status == 200
    assert connection.receive().status == 431


@pytest.fixture
def hurried(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run a service with little patience."""
    command = impatient(head_in=1, body_in=1, answer_out=1)
    with serving(tmp_path_factory.mktemp("hurried"), command=command) as service:
        yield service


def ended(connection: Connection) -> float:
    """Wait until the connection is closed, and give how many seconds that took."""
    begin = time.monotonic()
    connection.receive_if_any()
    return time.monotonic() - begin


def test_a_connection_without_a_request_is_not_waited_for(hurried: Service) -> None:
    with Connection(hurried.port) as connection:
        assert 0.5 < ended(connection) < 5


def test_a_head_that_does_not_come_is_not_waited_for(hurried: Service) -> None:
    with Connection(hurried.port) as connection:
        connection.send(request(LIST)[:30])
        assert connection.receive().fault == (408, "computeFault")
        assert connection.receive_if_any() is None


def test_an_empty_line_is_no_request_to_wait_for(hurried: Service) -> None:
    with Connection(hurried.port) as connection:
        assert connection.ask(request(LIST)).status == 200
        connection.send(b"\r\n")  # uvicorn would wait for ever from here
        assert 0.5 < ended(connection) < 5


def test_the_rest_of_a_body_that_nobody_reads_is_not_waited_for(hurried: Service) -> None:
    with Connection(hurried.port) as connection:
        assert connection.ask(request("/v2/openstack/images", "Content-Length: 9", method="POST")).status == 405
        connection.send(b"{")  # uvicorn would wait for ever from here
        assert 0.5 < ended(connection) < 5


def test_a_body_that_does_not_come_is_not_waited_for(hurried: Service) -> None:
    head = request(f"{LIST[:-7]}/x/metadata", "Content-Type: application/json", "Content-Length: 9", method="PUT")
    with Connection(hurried.port) as connection:
        answer = connection.ask(head + b"{")
        assert answer.fault == (400, "badRequest")


def test_a_client_that_does_not_read_is_not_waited_for(hurried: Service) -> None:
    large = request("/ui/swagger-ui-bundle.js")
    size = len(ask(hurried.port, large).body)
    came, count = 0, 20  # answers, many more than fit into the buffers between
    with socket.create_connection(("127.0.0.1", hurried.port), timeout=10) as client, suppress(ConnectionError):
        client.sendall(large * count)
        time.sleep(3)
        while some := client.recv(1_000_000):
            came += len(some)
    assert came < size * count
