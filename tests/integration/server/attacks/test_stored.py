"""What is written to the catalog: whatever text it is, it comes back as that text, and changes nothing else."""

from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from tests.integration.server.attacks.conftest import assert_sound, contents
from tests.integration.server.attacks.texts import LINES, SQL
from tests.integration.server.conftest import LIST
from tests.integration.server.service import Service, serving
from tests.integration.server.wire import Answer, Connection, percent_encoded, request
from tests.support.images import catalog_of, image, image_id

METADATA = f"/v2/openstack/images/{image_id(1)}/metadata"


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Service]:
    """Run a service whose first image may be changed; see that nothing else of it was."""
    catalog_of(tmp_path / "data", image(1), image(2))
    with serving(tmp_path, IMAGES_ACCESS_LOG="plain") as running:
        _, *others = contents(running)
        yield running
        assert contents(running)[1:] == others
        assert_sound(running)


def put(connection: Connection, metadata: dict[str, str]) -> Answer:
    return put_raw(connection, orjson.dumps({"metadata": metadata}))


def put_raw(connection: Connection, body: bytes) -> Answer:
    return connection.ask(request(METADATA, f"Content-Length: {len(body)}", method="PUT") + body)


def test_a_value_is_any_text(scratch: Service) -> None:
    with Connection(scratch.port) as connection:
        for text in [*LINES, *SQL]:
            metadata = {"any": text, "image_type": text, "instance_uuid": text}
            assert put(connection, metadata).document == {"metadata": metadata}
            assert connection.ask(request(METADATA)).document == {"metadata": metadata}
            listed, _ = connection.ask(request(LIST)).document["images"]
            assert (listed["metadata"], listed["server"]["id"]) == (metadata, text)
            ends = [link["href"].rpartition("/")[2] for link in listed["server"]["links"]]
            assert ends == [percent_encoded(text)] * 2
            found = connection.ask(request(f"{LIST}?server={percent_encoded(percent_encoded(text))}"))
            assert found.images == [image_id(1)]


def test_a_key_is_of_few_characters_even_where_these_are_sql(scratch: Service) -> None:
    with Connection(scratch.port) as connection:
        statuses = {text: put(connection, {text: ""}).status for text in [*LINES, *SQL]}
        assert {text for text, status in statuses.items() if status == 200} == {
            "DROP TABLE images--",
            "NULL",
            ":tenant",
        }
        assert set(statuses.values()) == {200, 400}
        assert connection.ask(request(METADATA)).document == {"metadata": {":tenant": ""}}
        assert connection.ask(request(f"{METADATA}/%3Atenant")).document == {"meta": {":tenant": ""}}


TWICE = [
    b'{"metadata": {"a": "first", "a": "last"}}',
    b'{"metadata": {"a": "first", "\\u0061": "last"}}',
    b'{"metadata": {"a": "first"}, "metadata": {"a": "last"}}',
    b'{"metadata": {"b": "first"}, "meta\\u0064ata": {"a": "last"}}',
]


def test_what_is_said_twice_is_stored_as_it_was_said_last(scratch: Service) -> None:
    with Connection(scratch.port) as connection:
        for body in TWICE:
            assert put(connection, {}).status == 200
            assert put_raw(connection, body).document == {"metadata": {"a": "last"}}
            assert connection.ask(request(METADATA)).document == {"metadata": {"a": "last"}}
