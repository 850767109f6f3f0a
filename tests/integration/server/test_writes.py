"""What is written is there for whoever asks next, whichever worker answers."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.integration.server.service import serving, until
from tests.integration.server.wire import Connection, request
from tests.support.images import catalog_of, image, image_id

IMAGE = f"/v2/openstack/images/{image_id(1)}"


@pytest.fixture
def connections(tmp_path: Path) -> Iterator[list[Connection]]:
    """Run two workers, and connect to each."""
    catalog_of(tmp_path / "data", image(1))
    with serving(tmp_path, workers=2) as service, ExitStack() as stack:
        found: dict[str, Connection] = {}

        def found_both() -> bool:
            several = [stack.enter_context(Connection(service.port)) for _ in range(8)]  # at once, too many for one
            found.update({worker_of(each): each for each in several})
            return len(found) == len(service.workers) == 2

        until(found_both)
        yield list(found.values())


def worker_of(connection: Connection) -> str:
    """Tell workers apart: each begins its request ids in its own way."""
    return connection.ask(request("/v2")).headers["x-compute-request-id"].rpartition("-")[0]


def metadata(connection: Connection) -> dict[str, str]:
    answer: dict[str, str] = connection.ask(request(f"{IMAGE}/metadata")).document["metadata"]
    return answer


def putting(body: bytes, *headers: str) -> tuple[bytes, bytes]:
    """Write the head of a request that replaces the metadata, and its body."""
    all_headers = ("Content-Type: application/json", f"Content-Length: {len(body)}", *headers)
    return request(f"{IMAGE}/metadata", *all_headers, method="PUT"), body


def test_a_change_by_one_worker_is_seen_by_the_next_request_of_any(connections: list[Connection]) -> None:
    for number in range(40):
        writer = connections[number % len(connections)]
        head, body = putting(b'{"metadata": {"number": "%d"}}' % number)
        assert writer.ask(head + body).status == 200
        seen = [each.ask(request(IMAGE)).document["image"]["metadata"] for each in connections]
        assert seen == [{"number": str(number)}] * len(connections)


def test_a_deleted_image_is_gone_for_all(connections: list[Connection]) -> None:
    assert [each.ask(request(IMAGE)).status for each in connections] == [200] * len(connections)
    answer = connections[0].ask(request(IMAGE, method="DELETE"))
    assert (answer.status, answer.body) == (204, b"")
    assert [each.ask(request(IMAGE)).status for each in connections] == [404] * len(connections)


UPGRADE = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA")


@pytest.mark.parametrize("at_once", [True, False])
def test_a_body_is_no_request_whatever_protocol_is_offered(connections: list[Connection], at_once: bool) -> None:
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
def test_a_request_whose_body_never_ends_is_not_carried_out(connections: list[Connection], length: str) -> None:
    body = b'{"metadata": {"half": "done"}}'
    sent = body if length.startswith("Content") else b"%x\r\n%b\r\n" % (len(body), body)
    with Connection(connections[0].port) as going:
        going.send(request(f"{IMAGE}/metadata", "Content-Type: application/json", length, method="PUT") + sent)
        time.sleep(0.2)
    time.sleep(0.2)
    assert metadata(connections[0]) == {}
