"""Reading all images of a Compute API: pages, tokens, retries, and everything that makes a read fail."""

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

from app.recording.compute import READ_LIMITS, ComputeReader, ComputeReadFailed
from tests.support.fake_glance import CONNECTION_CLOSED, NO_RESPONSE, FakeGlance, FakeResponse, running_glance
from tests.support.images import image, image_id

PATH = "/v2/p/images/detail"
FIRST, SECOND = f"GET {PATH}", f"GET {PATH}?limit=1&marker={image_id(1)}"
ELSEWHERE = f"http://elsewhere.test:1/v3/x?limit=1&marker={image_id(1)}"
LAST = FakeResponse(200, {"images": [image(2)]})
BUSY = FakeResponse(503, headers=(("Retry-After", "0"), ("Content-Length", "0")))


@pytest.fixture
def server() -> Iterator[FakeGlance]:
    with running_glance() as server:
        server.responses |= {FIRST: page(ELSEWHERE, image(1)), SECOND: LAST}
        yield server


def page(href: Any = ELSEWHERE, *images: Any) -> FakeResponse:
    links = [{"rel": "previous", "href": "x"}, {"rel": "next", "href": href}]
    return FakeResponse(200, {"images": images, "images_links": links})


def read(server: FakeGlance, token: str | None = None, **limits: Any) -> list[list[Any]]:
    return list(ComputeReader(f"{server.url}/v2/p", token, limits=READ_LIMITS._replace(silence=0.5, **limits)).pages())


@pytest.mark.parametrize("token", [None, "secret"])
def test_pages_are_read_from_the_server_of_the_url_only(server: FakeGlance, token: str | None) -> None:
    assert read(server, token) == [[image(1)], [image(2)]]
    assert [(request.line, request.token) for request in server.requests] == [(FIRST, token), (SECOND, token)]


@pytest.mark.parametrize(("failures", "is_read"), [(1, True), (3, True), (4, False)])
def test_page_is_requested_again_as_retry_after_says(server: FakeGlance, failures: int, is_read: bool) -> None:
    def respond() -> None:
        server.responses[SECOND] = responses.pop(0)
        server.before[SECOND] = respond

    responses = [*[BUSY] * failures, LAST]
    server.before[SECOND] = respond
    if is_read:
        assert read(server) == [[image(1)], [image(2)]]
    else:
        with pytest.raises(ComputeReadFailed, match="status 503"):
            read(server)
    assert [request.line for request in server.requests[1:]] == [SECOND] * min(failures + 1, 4)


TRUNCATED = FakeResponse(200, b"{", (("Content-Length", "9"),))
REDIRECT = FakeResponse(302, headers=(("Location", "http://elsewhere.test:1/"), ("Content-Length", "0")))
MALFORMED_LINKS: list[Any] = [5, {"rel": "next"}, [{"href": "x"}], ["x"], [{"rel": "next", "href": 5}]]
FAILURES: list[tuple[FakeResponse, str]] = [
    (FakeResponse(401), "the response has status 401: the token is missing or invalid"),
    (FakeResponse(403), "the response has status 403: the token is not for the project in the URL"),
    (FakeResponse(404), "the response has status 404: expected is a URL such as http://127.0.0.1:8774/v2/PROJECT"),
    (FakeResponse(503), "the response has status 503"),
    (REDIRECT, "the response has status 302: it redirects to 'http://elsewhere.test:1/'"),
    (NO_RESPONSE, "it does not respond in time"),
    (CONNECTION_CLOSED, "the connection failed: Remote end closed connection without response"),
    (TRUNCATED, "the connection failed: IncompleteRead(1 bytes read, 8 more expected)"),
    (FakeResponse(200, b"<html>"), "the response is not JSON"),
    (FakeResponse(200, {"servers": []}), "the response is not a list of images"),
    (FakeResponse(200, []), "the response is not a list of images"),
    *(
        (FakeResponse(200, {"images": [], "images_links": each}), "its links to other pages are malformed")
        for each in MALFORMED_LINKS
    ),
    (page("http://[/?marker=1"), "its links to other pages are malformed"),
    (page("/x?limit=1", image(2)), "its link to the next page, '/x?limit=1', is invalid"),
    (page("/x?marker=1"), "its link to the next page, '/x?marker=1', is invalid"),
    (page(ELSEWHERE, image(2)), "its links to next pages form a cycle"),
]


@pytest.mark.parametrize(("response", "reason"), FAILURES, ids=lambda each: str(each)[:40])
def test_failure_of_a_page_fails_the_read(server: FakeGlance, response: FakeResponse, reason: str) -> None:
    server.responses[SECOND] = response
    with pytest.raises(ComputeReadFailed) as raised:
        read(server, "secret")
    assert str(raised.value) == f"{server.url}{PATH}: {reason}"


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        ({"page_bytes": 100}, "a page is larger than 100 bytes"),
        ({"images": 1}, "it has more than 1 images"),
        ({"page": -1}, "it does not respond in time"),
    ],
)
def test_read_is_bounded(server: FakeGlance, limits: dict[str, Any], reason: str) -> None:
    with pytest.raises(ComputeReadFailed, match=f": {reason}$"):
        read(server, **limits)


def test_announcements_of_a_response_without_an_end_fail_the_read() -> None:
    def announce(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection, suppress(OSError):
            while not is_over.wait(0.01):
                connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")

    is_over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=announce, args=[listener])
        thread.start()
        reader = ComputeReader(f"http://127.0.0.1:{listener.getsockname()[1]}", limits=READ_LIMITS._replace(page=0.5))
        with pytest.raises(ComputeReadFailed, match="it does not respond in time"):
            list(reader.pages())
        is_over.set()
        thread.join()


def test_server_that_cannot_be_reached_fails_the_read() -> None:
    with pytest.raises(ComputeReadFailed, match=r"^http://127.0.0.1:1/images/detail: .*refused$"):
        list(ComputeReader("http://127.0.0.1:1").pages())
