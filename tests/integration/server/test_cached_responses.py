"""Responses that the server sends from the response cache, without the application, are those of the application."""

from pathlib import Path

import pytest

from tests.integration.server.conftest import LIST
from tests.integration.server.service import Service, serving
from tests.integration.server.wire import Connection, Response, request

# The server leaves requests with headers that it does not know to the application.
UNKNOWN_HEADER = "X-Unknown: 1"

ITEM = "/v2/openstack/images/70a599e0-31e7-49b7-b260-868f441e862b"


@pytest.fixture
def warm(connection: Connection) -> Connection:
    """Return a connection to a worker that has stored the responses."""
    for path in (LIST, ITEM, "/v2/openstack/images?limit=1"):
        for header in ("Accept-Encoding: identity", "Accept-Encoding: gzip", "X-Forwarded-Proto: https"):
            connection.fetch(request(path, header))
    return connection


def etag(connection: Connection, *headers: str) -> str:
    return connection.fetch(request(LIST, *headers)).headers["etag"]


def without_ids(response: Response) -> Response:
    """Return a response without the headers that differ between two equal requests."""
    varying = {"x-compute-request-id", "x-openstack-request-id", "date"}
    assert varying <= response.headers.keys()
    return response._replace(headers={name: each for name, each in response.headers.items() if name not in varying})


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("path", "headers"),
    [
        (LIST, []),
        (ITEM, ["Accept: application/json", "User-Agent: python-novaclient", "X-Auth-Token: ignored"]),
        (f"{LIST}?limit=1", ["Accept-Encoding: gzip, deflate", "Connection: keep-alive"]),
        (LIST, ["Accept-Encoding: gzip"]),
        (LIST, ["X-Forwarded-Proto: https", "X-Forwarded-For: 203.0.113.7"]),
        (LIST, ["If-None-Match: *"]),
        (LIST, ['If-None-Match: "other", W/"another"']),
        ("/v2/openstack/images?limit=1", ["Cache-Control: no-cache"]),
        ("/v2/openstack/images?limit=0x1", []),
        ("/v2/openstack/nothing", []),
    ],
)
def test_response_equals_that_of_the_application(warm: Connection, method: str, path: str, headers: list[str]) -> None:
    sent = warm.fetch(request(path, *headers, method=method))
    expected = warm.fetch(request(path, *headers, UNKNOWN_HEADER, method=method))

    assert without_ids(sent) == without_ids(expected)
    assert list(sent.headers) == list(expected.headers)


def test_etag_match_returns_304_as_the_application_does(warm: Connection) -> None:
    condition = f"If-None-Match: {etag(warm)}"

    sent, expected = (warm.fetch(request(LIST, condition, *other)) for other in ([], [UNKNOWN_HEADER]))

    assert sent.status == 304
    assert without_ids(sent) == without_ids(expected)


def test_every_response_has_its_own_request_id(warm: Connection) -> None:
    warm.send(request(LIST) * 20)

    ids = {warm.receive().headers["x-compute-request-id"] for _ in range(20)}

    assert len(ids) == 20


def test_pipelined_requests_are_answered_in_order_by_the_cache_and_by_the_application(warm: Connection) -> None:
    pages = [f"{LIST}?limit={number}" for number in (1, 2, 3)] * 3
    others = [UNKNOWN_HEADER if number % 2 else "Accept: */*" for number in range(len(pages))]

    warm.send(*map(request, pages, others))

    assert [len(warm.receive().images) for _ in pages] == [1, 2, 3] * 3


def test_connection_is_closed_after_the_response_if_the_client_asks_for_it(warm: Connection) -> None:
    warm.send(request(LIST, "Connection: close"))

    assert [each.headers["connection"] for each in warm.receive_all()] == ["close"]


def test_http_1_0_client_gets_its_response_and_the_end_of_the_connection(warm: Connection) -> None:
    warm.send(request(LIST, "Connection: keep-alive").replace(b"HTTP/1.1", b"HTTP/1.0"))

    assert [each.status for each in warm.receive_all()] == [200]


def test_change_is_visible_in_the_next_response(service: Service, connection: Connection) -> None:
    path = f"{ITEM}/metadata/color"
    before = [connection.fetch(request(f"{ITEM}/metadata")).document for _ in range(2)]

    body = b'{"meta": {"color": "red"}}'
    put = request(path, "Content-Type: application/json", f"Content-Length: {len(body)}", method="PUT")
    with Connection(service.port) as other:
        other.fetch(put + body)
        after = [connection.fetch(request(f"{ITEM}/metadata")).document for _ in range(2)]
        other.fetch(request(path, method="DELETE"))

    assert before[0] == before[1]
    assert after == [{"metadata": before[0]["metadata"] | {"color": "red"}}] * 2


def test_responses_vary_by_origin_if_pages_of_other_origins_are_admitted(tmp_path: Path) -> None:
    with (
        serving(tmp_path, IMAGES_CORS_ORIGINS="https://example.com") as service,
        Connection(service.port) as connection,
    ):
        responses = [connection.fetch(request(LIST)) for _ in range(2)]

    assert [each.headers["vary"] for each in responses] == ["accept-encoding, Origin"] * 2
