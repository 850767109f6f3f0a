"""Stored text is returned unchanged and has no side effects."""

from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from tests.integration.server.attacks.conftest import assert_sound, contents
from tests.integration.server.attacks.texts import LINES, SQL
from tests.integration.server.conftest import LIST
from tests.integration.server.service import Service, serving
from tests.integration.server.wire import JSON, Connection, Response, percent_encoded, request
from tests.support.images import catalog_of, image, image_id

METADATA = f"/v2/openstack/images/{image_id(1)}/metadata"


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Service]:
    """Run a service whose first image may be changed; check that nothing else was."""
    catalog_of(tmp_path / "data", image(1), image(2))
    with serving(tmp_path, IMAGES_ACCESS_LOG="on") as running:
        _, *others = contents(running)
        yield running
        assert contents(running)[1:] == others
        assert_sound(running)


def put(connection: Connection, metadata: dict[str, str]) -> Response:
    return put_raw(connection, orjson.dumps({"metadata": metadata}))


def put_raw(connection: Connection, body: bytes) -> Response:
    return connection.fetch(request(METADATA, JSON, f"Content-Length: {len(body)}", method="PUT") + body)


def test_metadata_value_can_be_any_text(scratch: Service) -> None:
    with Connection(scratch.port) as connection:
        for text in [*LINES, *SQL]:
            metadata = {"any": text, "image_type": text, "instance_uuid": text}
            assert put(connection, metadata).document == {"metadata": metadata}
            assert connection.fetch(request(METADATA)).document == {"metadata": metadata}
            listed, _ = connection.fetch(request(LIST)).document["images"]
            assert (listed["metadata"], listed["server"]["id"]) == (metadata, text)
            ends = [link["href"].rpartition("/")[2] for link in listed["server"]["links"]]
            assert ends == [percent_encoded(text)] * 2
            found = connection.fetch(request(f"{LIST}?server={percent_encoded(percent_encoded(text))}"))
            assert found.images == [image_id(1)]


def test_metadata_key_is_limited_to_few_characters(scratch: Service) -> None:
    with Connection(scratch.port) as connection:
        statuses = {text: put(connection, {text: ""}).status for text in [*LINES, *SQL]}
        assert {text for text, status in statuses.items() if status == 200} == {
            "DROP TABLE images--",
            "NULL",
            ":tenant",
        }
        assert set(statuses.values()) == {200, 400}
        assert connection.fetch(request(METADATA)).document == {"metadata": {":tenant": ""}}
        assert connection.fetch(request(f"{METADATA}/%3Atenant")).document == {"meta": {":tenant": ""}}


DUPLICATES = [
    b'{"metadata": {"a": "first", "a": "last"}}',
    b'{"metadata": {"a": "first", "\\u0061": "last"}}',
    b'{"metadata": {"a": "first"}, "metadata": {"a": "last"}}',
    b'{"metadata": {"b": "first"}, "meta\\u0064ata": {"a": "last"}}',
]


def test_last_of_duplicate_json_keys_is_stored(scratch: Service) -> None:
    with Connection(scratch.port) as connection:
        for body in DUPLICATES:
            assert put(connection, {}).status == 200
            assert put_raw(connection, body).document == {"metadata": {"a": "last"}}
            assert connection.fetch(request(METADATA)).document == {"metadata": {"a": "last"}}
