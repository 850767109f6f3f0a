"""What is written is there for whoever asks next, whichever worker answers."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import orjson
import pytest

from tests.images import catalog_of, image, image_id
from tests.server.service import serving, until
from tests.server.wire import Connection, request

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


def test_a_change_by_one_worker_is_seen_by_the_next_request_of_any(connections: list[Connection]) -> None:
    for number in range(40):
        writer = connections[number % len(connections)]
        body = orjson.dumps({"metadata": {"number": str(number)}})
        headers = ("Content-Type: application/json", f"Content-Length: {len(body)}")
        assert writer.ask(request(f"{IMAGE}/metadata", *headers, method="PUT") + body).status == 200
        seen = [each.ask(request(IMAGE)).document["image"]["metadata"] for each in connections]
        assert seen == [{"number": str(number)}] * len(connections)


def test_a_deleted_image_is_gone_for_all(connections: list[Connection]) -> None:
    assert [each.ask(request(IMAGE)).status for each in connections] == [200] * len(connections)
    answer = connections[0].ask(request(IMAGE, method="DELETE"))
    assert (answer.status, answer.body) == (204, b"")
    assert [each.ask(request(IMAGE)).status for each in connections] == [404] * len(connections)
