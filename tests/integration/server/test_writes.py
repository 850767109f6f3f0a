"""Changes are visible to the next request, whichever worker handles it."""

import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.integration.server.service import Service, serving, until
from tests.integration.server.wire import Connection, request
from tests.support.images import catalog_of, image, image_id

IMAGE = f"/v2/openstack/images/{image_id(1)}"


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("writes")
    catalog_of(folder / "data", image(1))
    with serving(folder, workers=2) as running:
        yield running


@pytest.fixture
def connections(two_workers: Service) -> Iterator[list[Connection]]:
    """Restore the image and return a connection to each worker."""
    service = two_workers
    catalog_of(service.folder / "data", image(1))
    with ExitStack() as stack:
        found: dict[str, Connection] = {}

        def found_both() -> bool:
            several = [stack.enter_context(Connection(service.port)) for _ in range(8)]  # more than one worker accepts
            found.update({worker_of(each): each for each in several})
            return len(found) == len(service.workers) == 2

        until(found_both)
        yield list(found.values())


def worker_of(connection: Connection) -> str:
    """Return the part of request ids that identifies the worker, in responses of the application, not of the cache."""
    return (
        connection.fetch(request("/v2", "Origin: http://compute.test"))
        .headers["x-compute-request-id"]
        .rpartition("-")[0]
    )


def metadata(connection: Connection) -> dict[str, str]:
    response: dict[str, str] = connection.fetch(request(f"{IMAGE}/metadata")).document["metadata"]
    return response


def putting(body: bytes, *headers: str) -> tuple[bytes, bytes]:
    all_headers = ("Content-Type: application/json", f"Content-Length: {len(body)}", *headers)
    return request(f"{IMAGE}/metadata", *all_headers, method="PUT"), body


def test_change_is_visible_to_next_request_of_any_worker(connections: list[Connection]) -> None:
    for number in range(40):
        writer = connections[number % len(connections)]
        head, body = putting(b'{"metadata": {"number": "%d"}}' % number)
        assert writer.fetch(head + body).status == 200
        seen = [each.fetch(request(IMAGE)).document["image"]["metadata"] for each in connections]
        assert seen == [{"number": str(number)}] * len(connections)


def test_deleted_image_is_not_found_by_any_worker(connections: list[Connection]) -> None:
    assert [each.fetch(request(IMAGE)).status for each in connections] == [200] * len(connections)
    response = connections[0].fetch(request(IMAGE, method="DELETE"))
    assert (response.status, response.body) == (204, b"")
    assert [each.fetch(request(IMAGE)).status for each in connections] == [404] * len(connections)


UPGRADE = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA")


@pytest.mark.parametrize("at_once", [True, False])
def test_body_of_upgrade_request_is_not_parsed_as_request(connections: list[Connection], at_once: bool) -> None:
    connection, _ = connections
    smuggled, _ = putting(b'{"metadata": {"smuggled": "1"}}')
    for body in (b'{"metadata": {"mine": "1"}}', smuggled):
        head, _ = putting(body, *UPGRADE)
        pieces = [head + body + request(IMAGE)] if at_once else [head, body, request(IMAGE)]
        for piece in pieces:
            connection.send(piece)
            time.sleep(0.05)
        assert connection.receive().status == (400 if body is smuggled else 200)
        assert connection.receive().document["image"]["metadata"] == {"mine": "1"}


@pytest.mark.parametrize("length", ["Content-Length: 100", "Transfer-Encoding: chunked"])
def test_request_with_incomplete_body_has_no_effect(connections: list[Connection], length: str) -> None:
    body = b'{"metadata": {"half": "done"}}'
    sent = body if length.startswith("Content") else b"%x\r\n%b\r\n" % (len(body), body)
    with Connection(connections[0].port) as going:
        going.send(request(f"{IMAGE}/metadata", "Content-Type: application/json", length, method="PUT") + sent)
        time.sleep(0.2)
    time.sleep(0.2)
    assert metadata(connections[0]) == {}
