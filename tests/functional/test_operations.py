"""Every operation, in every way that the contract says it may end; and what the single images and metadata do."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from httpx2 import Response
from sqlite_utils.utils import sqlite3  # type: ignore[attr-defined]
from starlette.testclient import TestClient

from app import factory
from app.catalog.tokens import add_token
from app.errors import UpstreamConflict
from app.middleware.request_body import MAX_BODY_BYTES
from tests.conftest import Serve, loaded
from tests.support.images import catalog_of, image, image_id

CONTRACT = loaded()
ME = "11111111111111111111111111111111"
YOU = "22222222222222222222222222222222"
IMAGES = f"/v2/{ME}/images"
ONE = f"{IMAGES}/{image_id(1)}"
ITEMS = {"a": "1", "b": None}


class Operation(NamedTuple):
    """An operation of a contract, and a request that it takes: the one that its documentation shows."""

    auth: str
    name: str
    method: str
    path: str
    body: Any
    statuses: list[int]

    def url(self, **values: str) -> str:
        """Give its path for an image that the catalog of these tests has, unless told."""
        return self.path.format(**{"tenant_id": ME, "image_id": image_id(1), "key": "kernel_id"} | values)


def operations(auth: str) -> Iterator[Operation]:
    document = loaded(auth).document
    for path, item in document["paths"].items():
        for method, operation in item.items():
            bodies = document["components"]["requestBodies"]
            name = operation.get("requestBody", {}).get("$ref", "").rpartition("/")[2]
            body = bodies[name]["content"]["application/json"]["example"] if name else None
            statuses = [int(status) for status in operation["responses"]]
            yield Operation(auth, operation["operationId"], method.upper(), path, body, statuses)


OPERATIONS = {each.name: each for each in operations("none")}
ENDS = [(each, status) for auth in ("none", "token") for each in operations(auth) for status in each.statuses]

each_end = pytest.mark.parametrize(
    ("operation", "status"),
    ENDS,
    ids=[f"{operation.auth}-{operation.name}-{status}" for operation, status in ENDS],
)
each_list = pytest.mark.parametrize("name", ["listImages", "listImagesDetails"])


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    return catalog_of(
        tmp_path,
        image(1, owner=ME, metadata=ITEMS | {"kernel_id": "nokernel"}),
        image(2, owner=YOU),
        image(3, name="three", minRam=512),
        image(4, owner=YOU, visibility="private"),
        image(5, owner=YOU, visibility="shared", members=[ME]),
        image(6, owner=YOU, visibility="community"),
        image(7, status="DELETED", owner=ME),
    )


@pytest.fixture
def client(serve: Serve, catalog: Path) -> TestClient:
    return serve(catalog)


def end_well(client: TestClient, operation: Operation) -> Response:
    return client.request(operation.method, operation.url(), json=operation.body)


def end_unchanged(client: TestClient, operation: Operation) -> Response:
    etag = client.get(operation.url()).headers["etag"]
    return client.get(operation.url(), headers={"If-None-Match": etag})


def end_unknown(client: TestClient, operation: Operation) -> Response:
    return client.request(operation.method, operation.url(), params={"unknown": "x"}, json=operation.body)


def end_unauthorized(client: TestClient, operation: Operation) -> Response:
    return client.request(operation.method, operation.url(), json=operation.body, headers={"X-Auth-Token": "none"})


def end_forbidden(client: TestClient, operation: Operation) -> Response:
    others = {"tenant_id": YOU} if operation.method == "GET" else {"image_id": image_id(2)}
    return client.request(operation.method, operation.url(**others), json=operation.body)


def end_not_found(client: TestClient, operation: Operation) -> Response:
    return client.request(operation.method, operation.url(image_id="nothing"), json=operation.body)


def end_wrong_method(client: TestClient, operation: Operation) -> Response:
    return client.patch(operation.url())


def end_stale(client: TestClient, operation: Operation) -> Response:
    return client.get(operation.url())


def end_too_large(client: TestClient, operation: Operation) -> Response:
    headers = {"Content-Type": "application/json"}
    return client.request(operation.method, operation.url(), content=b" " * (MAX_BODY_BYTES + 1), headers=headers)


def end_no_json(client: TestClient, operation: Operation) -> Response:
    headers = {"Content-Type": "text/plain"}
    return client.request(operation.method, operation.url(), content=b"x", headers=headers)


ENDINGS: dict[int, Callable[[TestClient, Operation], Response]] = {
    200: end_well,
    203: end_stale,
    204: end_well,
    304: end_unchanged,
    400: end_unknown,
    401: end_unauthorized,
    403: end_forbidden,
    404: end_not_found,
    405: end_wrong_method,
    409: end_well,
    413: end_too_large,
    415: end_no_json,
    500: end_well,
    503: end_well,
}


@each_end
def test_an_operation_ends_as_the_contract_says_that_it_may(
    serve: Serve, catalog: Path, monkeypatch: pytest.MonkeyPatch, operation: Operation, status: int
) -> None:
    if status in RAISED:
        monkeypatch.setattr(factory, "resolve_operation", lambda _: raising(RAISED[status]))
    client = serve(catalog, auth=operation.auth)
    client.headers["X-Auth-Token"] = add_token(catalog, ME, is_admin=False, expires=None)
    if status == 203:
        make_a_copy(catalog)
    if status == 503:
        catalog.unlink()
    answer = ENDINGS[status](client, operation)
    assert answer.status_code == status, answer.text
    loaded(operation.auth).operations[operation.name].check_answer(status, answer.json() if answer.content else None)
    assert answer.headers["x-compute-request-id"] == answer.headers["x-openstack-request-id"]
    for name in ("ETag", "Allow", "Last-Modified", "WWW-Authenticate"):
        assert (name in answer.headers) == (name in headers_of(operation, status))


RAISED = {409: UpstreamConflict("1"), 500: RuntimeError()}


def raising(error: Exception) -> Callable[..., None]:
    def operation(**_: Any) -> None:
        raise error

    return operation


def make_a_copy(catalog: Path) -> None:
    with closing(sqlite3.connect(catalog)) as database, database:
        database.execute("INSERT INTO upstream VALUES ('http://glance.test', 0, 0, 0)")


def headers_of(operation: Operation, status: int) -> Any:
    document = loaded(operation.auth).document
    responses = document["paths"][operation.path][operation.method.lower()]["responses"]
    return document["components"]["responses"][responses[str(status)]["$ref"].rpartition("/")[2]]["headers"]


# What each parameter of a list finds of the images of these tests, by their numbers, which are as old as each other.
FOUND: dict[str, tuple[str, list[int]]] = {
    "changes-since": ("2020-01-01T00:00:00Z", [1, 2, 3, 5, 7]),
    "server": ("s1", []),
    "name": ("three", [3]),
    "status": ("DELETED", [7]),
    "type": ("SERVER", []),
    "minRam": ("512", [3]),
    "minDisk": ("0", [1, 2, 3, 5]),
    "limit": ("2", [1, 2]),
    "marker": (image_id(1), [2, 3, 5]),
}


@each_list
@pytest.mark.parametrize("parameter", FOUND)
def test_every_parameter_of_a_list_finds_what_it_should(client: TestClient, name: str, parameter: str) -> None:
    assert FOUND.keys() == CONTRACT.operations[name].query.keys()
    value, numbers = FOUND[parameter]
    answer = client.get(OPERATIONS[name].url(), params={parameter: value})
    assert [each["id"] for each in answer.json()["images"]] == [image_id(number) for number in numbers]


@pytest.mark.parametrize(
    "query",
    ["", "?limit=2", f"?marker={image_id(1)}", "?status=DELETED", "?changes-since=2000-01-01T00:00:00Z", "?minRam=1"],
)
def test_the_short_list_has_the_ids_names_and_links_of_the_details(client: TestClient, query: str) -> None:
    details = client.get(f"{IMAGES}/detail{query}").json()
    short = client.get(f"{IMAGES}{query}").json()
    assert short["images"] == [{key: each[key] for key in ("id", "name", "links")} for each in details["images"]]
    assert ("images_links" in short) == ("images_links" in details) == ("limit" in query)


def test_the_next_page_of_the_short_list_is_one_of_the_short_list(client: TestClient) -> None:
    page = client.get(f"{IMAGES}?limit=2&minDisk=0").json()
    (link,) = page["images_links"]
    assert link["href"] == f"http://compute.test{IMAGES}?limit=2&minDisk=0&marker={page['images'][-1]['id']}"
    assert client.get(link["href"]).status_code == 200


def test_every_link_to_an_image_leads_to_it(client: TestClient) -> None:
    for shown in client.get(f"{IMAGES}/detail").json()["images"]:
        for link in shown["links"]:
            assert client.get(link["href"]).json() == {"image": shown}


@pytest.mark.parametrize("number", [1, 2, 3, 5, 6])
def test_an_image_that_can_be_seen_is_shown_a_community_image_too(client: TestClient, number: int) -> None:
    assert client.get(f"{IMAGES}/{image_id(number)}").json()["image"]["id"] == image_id(number)


@pytest.mark.parametrize(
    "missing", [image_id(4), image_id(7), image_id(99), "nothing", "-1", "%00", "%FF", "%2E%2E", "x" * 300]
)
@pytest.mark.parametrize("name", [each.name for each in OPERATIONS.values() if "{image_id}" in each.path])
def test_an_image_that_cannot_be_seen_is_as_one_that_is_not_there(client: TestClient, name: str, missing: str) -> None:
    operation = OPERATIONS[name]
    answer = client.request(operation.method, operation.url(image_id=missing), json=operation.body)
    assert answer.status_code == 404
    assert answer.json() == {"itemNotFound": {"code": 404, "message": "Image not found."}}


@pytest.mark.parametrize("number", [2, 5, 6])
@pytest.mark.parametrize("name", [each.name for each in OPERATIONS.values() if 403 in each.statuses])
def test_an_image_of_another_project_is_not_changed(client: TestClient, name: str, number: int) -> None:
    operation, url = OPERATIONS[name], f"{IMAGES}/{image_id(number)}"
    before = client.get(url).json()
    answer = client.request(operation.method, operation.url(image_id=image_id(number)), json=operation.body)
    message = f"Image '{image_id(number)}' does not belong to the project."
    assert answer.json() == {"forbidden": {"code": 403, "message": message}}
    assert client.get(url).json() == before


def test_a_deleted_image_is_seen_by_who_asks_what_changed(client: TestClient) -> None:
    assert client.delete(ONE).status_code == 204
    assert client.get(ONE).status_code == client.delete(ONE).status_code == 404
    assert image_id(1) not in ids(client, IMAGES)
    changed = client.get(f"{IMAGES}/detail?changes-since=2021-01-01T00:00:00Z").json()["images"]
    assert [(each["id"], each["status"], each["progress"]) for each in changed] == [(image_id(1), "DELETED", 0)]


def test_a_deleted_image_may_still_be_a_marker(client: TestClient) -> None:
    following = ids(client, f"{IMAGES}?marker={image_id(2)}")
    client.delete(f"{IMAGES}/{image_id(3)}")
    assert ids(client, f"{IMAGES}?marker={image_id(3)}") == following[1:]


def test_an_image_that_nobody_owns_is_changed_by_anyone(client: TestClient) -> None:
    assert client.delete(f"/v2/{YOU}/images/{image_id(3)}").status_code == 204


def ids(client: TestClient, url: str) -> list[str]:
    return [each["id"] for each in client.get(url).json()["images"]]


class Change(NamedTuple):
    """What is done to which part of the metadata; what is said of it; and which items are others then."""

    method: str
    part: str
    body: Any
    told: Any
    changed: dict[str, Any]


CHANGES = [
    Change(
        "POST",
        "",
        {"metadata": {"b": "2", "c": "3"}},
        {"metadata": {"a": "1", "b": "2", "c": "3"}},
        {"b": "2", "c": "3"},
    ),
    Change("POST", "", {"metadata": {}}, {"metadata": {"a": "1", "b": None}}, {}),
    Change("PUT", "", {"metadata": {"c": "3"}}, {"metadata": {"c": "3"}}, {"a": ..., "b": ..., "c": "3"}),
    Change("PUT", "", {"metadata": {}}, {"metadata": {}}, {"a": ..., "b": ...}),
    Change("PUT", "/a", {"meta": {"a": "2"}}, {"meta": {"a": "2"}}, {"a": "2"}),
    Change("PUT", "/new%20one", {"meta": {"new one": ""}}, {"meta": {"new one": ""}}, {"new one": ""}),
    Change("DELETE", "/b", None, None, {"b": ...}),
]


@pytest.mark.parametrize("change", CHANGES)
def test_metadata_are_changed(serve: Serve, tmp_path: Path, change: Change) -> None:
    client = serve(catalog_of(tmp_path, image(1, owner=ME, metadata=ITEMS)))
    before = client.get(ONE).json()["image"]
    answer = client.request(change.method, f"{ONE}/metadata{change.part}", json=change.body)
    assert answer.status_code == (204 if change.told is None else 200)
    assert (answer.json() if change.told else None) == change.told
    after = client.get(ONE).json()["image"]
    assert after["metadata"] == {key: value for key, value in (ITEMS | change.changed).items() if value is not ...}
    assert client.get(f"{ONE}/metadata").json() == {"metadata": after["metadata"]}
    assert after["updated"] > before["updated"]
    assert {**after, "metadata": 0, "updated": 0} == {**before, "metadata": 0, "updated": 0}


def test_an_item_is_shown(client: TestClient) -> None:
    assert client.get(f"{ONE}/metadata/b").json() == {"meta": {"b": None}}


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_an_item_that_is_missing_is_not_found(client: TestClient, method: str) -> None:
    answer = client.request(method, f"{ONE}/metadata/no%0Athing")
    message = "The image's metadata have no item 'no\\nthing'."
    assert answer.json() == {"itemNotFound": {"code": 404, "message": message}}


def test_metadata_say_from_which_server_an_image_was_made(client: TestClient) -> None:
    client.put(f"{ONE}/metadata/instance_uuid", json={"meta": {"instance_uuid": "s1"}})
    assert ids(client, f"{IMAGES}?server=s1&type=SERVER") == [image_id(1)]
    assert client.get(ONE).json()["image"]["server"]["id"] == "s1"
    client.delete(f"{ONE}/metadata/instance_uuid")
    assert ids(client, f"{IMAGES}?server=s1") == []
    assert "server" not in client.get(ONE).json()["image"]


WRONG = "The body is wrong: "
KEY = "^[A-Za-z0-9_:. -]{1,255}$"
BAD_BODIES = [
    ("POST", "", b"", "it is not JSON: Input is a zero-length, empty document: line 1 column 1 (char 0)"),
    ("POST", "", b"[]", '[] is not of type "object"'),
    ("POST", "", b"{}", '"metadata" is a required property'),
    ("PUT", "", b'{"metadata": {}, "x": 1}', "Additional properties are not allowed ('x' was unexpected)"),
    ("PUT", "", b'{"metadata": []}', 'metadata: [] is not of type "object"'),
    ("POST", "", b'{"metadata": {"a": null}}', 'metadata.a: null is not of type "string"'),
    ("POST", "", b'{"metadata": {"a": 1}}', 'metadata.a: 1 is not of type "string"'),
    ("POST", "", b'{"metadata": {"": "1"}}', f'metadata: "" does not match "{KEY}"'),
    ("POST", "", b'{"metadata": {"a/b": "1"}}', f'metadata: "a/b" does not match "{KEY}"'),
    ("PUT", "/a", b'{"meta": {"b": "1"}}', "the path names the item 'a', the body another"),
    ("PUT", "/a", b'{"meta": {}}', "meta: {} has less than 1 property"),
    ("PUT", "/a", b'{"meta": {"a": "1", "b": "2"}}', 'meta: {"a":"1","b":"2"} has more than 1 property'),
    ("PUT", "/a", b'{"meta": {"a": "\\ud800"}}', "it is not JSON: "),
    ("POST", "", b'{"metadata": {"a": ' + b"[" * 500 + b"]" * 500 + b"}}", "it is nested too deeply"),
    ("POST", "", b'{"metadata": {"a\\nb": "1"}}', f'metadata: "a\\nb" does not match "{KEY}"'),
]


@pytest.mark.parametrize(("method", "part", "body", "complaint"), BAD_BODIES)
def test_a_bad_body_changes_nothing_and_is_told_why(
    client: TestClient, method: str, part: str, body: bytes, complaint: str
) -> None:
    before = client.get(ONE).json()
    answer = client.request(method, f"{ONE}/metadata{part}", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["badRequest"]["message"].startswith(WRONG + complaint)
    assert client.get(ONE).json() == before


def test_a_body_of_many_mistakes_is_refused_as_soon_as_one_of_one(client: TestClient) -> None:
    items = {f"x/{number}": "" for number in range(20_000)}  # to list them all would take days
    assert client.post(f"{ONE}/metadata", json={"metadata": items}).status_code == 400


@pytest.mark.parametrize(("length", "status"), [(255, 200), (256, 400)])
def test_keys_and_values_have_their_lengths(client: TestClient, length: int, status: int) -> None:
    for items in ({"k" * length: "v"}, {"k": "🐧" * length}):
        assert client.post(f"{ONE}/metadata", json={"metadata": items}).status_code == status


def test_the_largest_metadata_that_can_be_are_taken(client: TestClient) -> None:
    items = {f"{number:0255}": "🐧" * 255 for number in range(128)}
    assert client.put(f"{ONE}/metadata", json={"metadata": items}).json() == {"metadata": items}
    assert client.get(f"{ONE}/metadata").json() == {"metadata": items}


@pytest.mark.parametrize(("method", "part"), [("PUT", ""), ("POST", "")])
def test_more_items_than_there_may_be_are_forbidden(client: TestClient, method: str, part: str) -> None:
    items = {str(number): "" for number in range(129)}
    answer = client.request(method, f"{ONE}/metadata{part}", json={"metadata": items})
    assert answer.status_code == 403
    assert answer.json()["forbidden"]["message"].endswith(" items of metadata; it may have 128.")
    assert len(client.get(f"{ONE}/metadata").json()["metadata"]) == 3


def test_an_image_that_a_file_gave_more_items_can_have_fewer(serve: Serve, tmp_path: Path) -> None:
    client = serve(catalog_of(tmp_path, image(1, owner=ME, metadata={str(number): "" for number in range(200)})))
    assert client.delete(f"{ONE}/metadata/0").status_code == 204
    assert client.put(f"{ONE}/metadata/1", json={"meta": {"1": "changed"}}).status_code == 200
    assert client.put(f"{ONE}/metadata/x", json={"meta": {"x": ""}}).status_code == 403


@pytest.mark.parametrize(
    "content_type", ["application/json", "Application/JSON", "application/json; charset=latin-1", ""]
)
def test_json_is_taken_under_its_name_however_written(client: TestClient, content_type: str) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    answer = client.post(f"{ONE}/metadata", content='{"metadata": {"c": "é"}}'.encode(), headers=headers)
    assert answer.json()["metadata"]["c"] == "é"


@pytest.mark.parametrize("header", ["Content-Type: text/plain", "Content-Type: a, b", "Content-Encoding: gzip"])
def test_what_is_no_json_is_told_so(client: TestClient, header: str) -> None:
    name, value = header.split(": ")
    answer = client.post(f"{ONE}/metadata", content=b"{}", headers={"Content-Type": "application/json", name: value})
    allowed = {"Content-Type": "application/json", "Content-Encoding": "identity"}[name]
    assert answer.json()["badMediaType"]["message"] == f"Header '{name}': '{value}' is not {allowed}."


def test_a_catalog_that_cannot_be_written_to_is_for_reading_alone(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = sqlite3.connect

    def connect_to_read(path: Path | str, **options: Any) -> Any:
        """Connect as to a file that may not be written: nothing is forbidden to the root of a machine."""
        return connect(path if isinstance(path, str) else f"{path.as_uri()}?mode=ro", **options | {"uri": True})

    monkeypatch.setattr(sqlite3, "connect", connect_to_read)
    answer = client.delete(ONE)
    message = "The catalog is served for reading alone: whoever runs the service changes it."
    assert answer.json() == {"forbidden": {"code": 403, "message": message}}
    assert client.get(ONE).status_code == 200


def test_a_body_in_chunks_is_taken_and_bounded(client: TestClient) -> None:
    def chunks(size: int) -> Iterator[bytes]:
        yield b'{"metadata": {'
        yield from (b" " * 1000 for _ in range(size))
        yield b"}}"

    headers = {"Content-Type": "application/json"}
    assert client.post(f"{ONE}/metadata", content=chunks(10), headers=headers).status_code == 200
    answer = client.post(f"{ONE}/metadata", content=chunks(1000), headers=headers)
    assert answer.json() == {"overLimit": {"code": 413, "message": "The body is longer than 1000000 bytes."}}


@pytest.mark.parametrize("path", ["/v2", "/v2/"])
def test_the_version_is_discovered(client: TestClient, path: str) -> None:
    (version,) = client.get("/").json()["versions"]
    assert client.get(path).json() == {"version": version}
    assert client.get(version["links"][0]["href"]).status_code == 200


def test_health_is_asked_anew_each_time_and_tells_what_is_kept(client: TestClient) -> None:
    first = client.get("/healthcheck")
    client.get(IMAGES)
    client.get(IMAGES)
    second = client.get("/healthcheck")
    assert first.json() == {"status": "available", "cache": {"hits": 0, "misses": 0, "entries": 0, "bytes": 0}}
    assert second.json()["cache"]["hits"] == second.json()["cache"]["entries"] == 1
    assert second.headers["cache-control"] == "no-store"


def test_health_is_ill_when_the_catalog_cannot_be_read(serve: Serve, catalog: Path) -> None:
    client = serve(catalog)
    with sqlite3.connect(catalog) as database:
        database.execute("ALTER TABLE images RENAME TO elsewhere")
    answer = client.get("/healthcheck")
    message = "The catalog of images cannot be reached at the moment; try again later."
    assert answer.json() == {"serviceUnavailable": {"code": 503, "message": message}}
