"""Every operation with every status in the contract; single images, metadata, versions and health."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Never

import pytest
from httpx2 import Response
from sqlite_utils.utils import sqlite3  # type: ignore[attr-defined]
from starlette.testclient import TestClient

from app.catalog.engines import open_catalog
from app.catalog.models import Upstream
from app.catalog.tokens import add_token
from app.errors import UpstreamConflict
from app.framework.responses import JSONResponse
from app.middleware.request_body import MAX_BODY_BYTES
from app.overrides import NO_OVERRIDES, Overrides
from tests.conftest import Serve, loaded
from tests.support.catalogs import remove_catalog, sqlite_only
from tests.support.images import catalog_at, image, image_id
from tests.support.projects import OTHER_PROJECT, PROJECT

CONTRACT = loaded()
IMAGES = f"/v2/{PROJECT}/images"
ONE = f"{IMAGES}/{image_id(1)}"
ITEMS = {"a": "1", "b": None}


class Operation(NamedTuple):
    """An operation of a contract, with the request body of its documentation."""

    auth: str
    name: str
    method: str
    path: str
    body: Any
    statuses: list[int]

    def url(self, **values: str) -> str:
        """Return its path, by default for an image that the catalog contains."""
        return self.path.format(**{"tenant_id": PROJECT, "image_id": image_id(1), "key": "kernel_id"} | values)


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
BY_THE_SERVER = {408, 414, 431}  # of requests that never reach the application
RESPONSES = [
    (each, status)
    for auth in ("none", "token")
    for each in operations(auth)
    for status in each.statuses
    if status not in BY_THE_SERVER
]

each_response = pytest.mark.parametrize(
    ("operation", "status"),
    RESPONSES,
    ids=[f"{operation.auth}-{operation.name}-{status}" for operation, status in RESPONSES],
)
each_list = pytest.mark.parametrize("name", ["listImages", "listImagesDetails"])


@pytest.fixture
def catalog(location: str) -> str:
    return catalog_at(
        location,
        image(1, owner=PROJECT, metadata=ITEMS | {"kernel_id": "nokernel"}),
        image(2, owner=OTHER_PROJECT),
        image(3, name="three", minRam=512),
        image(4, owner=OTHER_PROJECT, visibility="private"),
        image(5, owner=OTHER_PROJECT, visibility="shared", members=[PROJECT]),
        image(6, owner=OTHER_PROJECT, visibility="community"),
        image(7, status="DELETED", owner=PROJECT),
    )


@pytest.fixture
def client(serve: Serve, catalog: str) -> TestClient:
    return serve(catalog)


# Options of a request that replace the documented ones, by the status of the response.
OPTIONS: dict[int, dict[str, Any]] = {
    400: {"params": {"unknown": "x"}},
    401: {"headers": {"X-Auth-Token": "none"}},
    413: {"json": None, "content": b" " * (MAX_BODY_BYTES + 1), "headers": {"Content-Type": "application/json"}},
    415: {"json": None, "content": b"x", "headers": {"Content-Type": "text/plain"}},
}


def send(client: TestClient, operation: Operation, status: int) -> Response:
    """Send a request to which the response has the status."""
    method, url, options = operation.method, operation.url(), {"json": operation.body} | OPTIONS.get(status, {})
    match status:
        case 304:
            options["headers"] = {"If-None-Match": client.get(url).headers["etag"]}
        case 403:
            url = operation.url(**{"tenant_id": OTHER_PROJECT} if method == "GET" else {"image_id": image_id(2)})
        case 404:
            url = operation.url(image_id="nothing")
        case 405:
            method = "PATCH"
    return client.request(method, url, **options)


ERRORS = {409: UpstreamConflict("1"), 500: RuntimeError()}  # that operations raise


@each_response
def test_operation_has_each_response_of_the_contract(
    serve: Serve, catalog: str, operation: Operation, status: int
) -> None:
    error = ERRORS.get(status)
    overrides = NO_OVERRIDES if error is None else Overrides(resolve_operation=lambda _: raising(error))
    client = serve(catalog, auth=operation.auth, overrides=overrides)
    client.headers["X-Auth-Token"] = add_token(open_catalog(catalog), PROJECT, is_admin=False, expires=None)
    if status == 203:
        make_stale_replica(catalog)
    if status == 503:
        remove_catalog(catalog)
    response = send(client, operation, status)
    assert response.status_code == status, response.text
    document = response.json() if response.content else None
    loaded(operation.auth).operations[operation.name].validate_response(status, document)
    assert response.headers["x-compute-request-id"] == response.headers["x-openstack-request-id"]
    for name in ("ETag", "Allow", "Last-Modified", "WWW-Authenticate", "Retry-After"):
        assert (name in response.headers) == (name in headers_of(operation, status))


def raising(error: Exception) -> Callable[..., Never]:
    def operation(**_: Any) -> Never:
        raise error

    return operation


def make_stale_replica(catalog: str) -> None:
    with open_catalog(catalog).transaction(timeout=1) as transaction:
        transaction.set_upstream(Upstream("http://glance.test", is_admin=False))


def headers_of(operation: Operation, status: int) -> Any:
    document = loaded(operation.auth).document
    responses = document["paths"][operation.path][operation.method.lower()]["responses"]
    return document["components"]["responses"][responses[str(status)]["$ref"].rpartition("/")[2]]["headers"]


# For each parameter of a list: a value, and the numbers of the images that it selects.
SELECTED: dict[str, tuple[str, list[int]]] = {
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
@pytest.mark.parametrize("parameter", SELECTED)
def test_each_parameter_of_a_list_selects_its_images(client: TestClient, name: str, parameter: str) -> None:
    assert SELECTED.keys() == CONTRACT.operations[name].query.keys()
    value, numbers = SELECTED[parameter]
    response = client.get(OPERATIONS[name].url(), params={parameter: value})
    assert [each["id"] for each in response.json()["images"]] == [image_id(number) for number in numbers]


@pytest.mark.parametrize(
    "query",
    ["", "?limit=2", f"?marker={image_id(1)}", "?status=DELETED", "?changes-since=2000-01-01T00:00:00Z", "?minRam=1"],
)
def test_short_list_has_ids_names_and_links_of_the_details(client: TestClient, query: str) -> None:
    details = client.get(f"{IMAGES}/detail{query}").json()
    short = client.get(f"{IMAGES}{query}").json()
    assert short["images"] == [{key: each[key] for key in ("id", "name", "links")} for each in details["images"]]
    assert ("images_links" in short) == ("images_links" in details) == ("limit" in query)


def test_next_link_of_the_short_list_leads_to_the_short_list(client: TestClient) -> None:
    page = client.get(f"{IMAGES}?limit=2&minDisk=0").json()
    (link,) = page["images_links"]
    assert link["href"] == f"http://compute.test{IMAGES}?limit=2&minDisk=0&marker={page['images'][-1]['id']}"
    assert client.get(link["href"]).status_code == 200


def test_every_link_to_an_image_leads_to_it(client: TestClient) -> None:
    for shown in client.get(f"{IMAGES}/detail").json()["images"]:
        for link in shown["links"]:
            assert client.get(link["href"]).json() == {"image": shown}


@pytest.mark.parametrize("number", [1, 2, 3, 5, 6])
def test_visible_image_is_shown_including_community_images(client: TestClient, number: int) -> None:
    assert client.get(f"{IMAGES}/{image_id(number)}").json()["image"]["id"] == image_id(number)


@pytest.mark.parametrize(
    "missing", [image_id(4), image_id(7), image_id(99), "nothing", "-1", "%00", "%FF", "%2E%2E", "x" * 300]
)
@pytest.mark.parametrize("name", [each.name for each in OPERATIONS.values() if "{image_id}" in each.path])
def test_invisible_image_is_like_a_missing_one(client: TestClient, name: str, missing: str) -> None:
    operation = OPERATIONS[name]
    response = client.request(operation.method, operation.url(image_id=missing), json=operation.body)
    assert response.status_code == 404
    assert response.json() == {"itemNotFound": {"code": 404, "message": "Image not found."}}


@pytest.mark.parametrize("number", [2, 5, 6])
@pytest.mark.parametrize("name", [each.name for each in OPERATIONS.values() if 403 in each.statuses])
def test_image_of_another_project_is_read_only(client: TestClient, name: str, number: int) -> None:
    operation, url = OPERATIONS[name], f"{IMAGES}/{image_id(number)}"
    before = client.get(url).json()
    response = client.request(operation.method, operation.url(image_id=image_id(number)), json=operation.body)
    message = f"Image '{image_id(number)}' does not belong to the project."
    assert response.json() == {"forbidden": {"code": 403, "message": message}}
    assert client.get(url).json() == before


def test_deleted_image_is_listed_by_changes_since(client: TestClient) -> None:
    assert client.delete(ONE).status_code == 204
    assert client.get(ONE).status_code == client.delete(ONE).status_code == 404
    assert image_id(1) not in ids(client, IMAGES)
    changed = client.get(f"{IMAGES}/detail?changes-since=2021-01-01T00:00:00Z").json()["images"]
    assert [(each["id"], each["status"], each["progress"]) for each in changed] == [(image_id(1), "DELETED", 0)]


def test_deleted_image_is_a_valid_marker(client: TestClient) -> None:
    following = ids(client, f"{IMAGES}?marker={image_id(2)}")
    client.delete(f"{IMAGES}/{image_id(3)}")
    assert ids(client, f"{IMAGES}?marker={image_id(3)}") == following[1:]


def test_image_without_owner_is_changed_by_any_project_without_authentication(client: TestClient) -> None:
    assert client.delete(f"/v2/{OTHER_PROJECT}/images/{image_id(3)}").status_code == 204


def ids(client: TestClient, url: str) -> list[str]:
    return [each["id"] for each in client.get(url).json()["images"]]


class Change(NamedTuple):
    """A change of metadata: the request, the response, and the items that differ afterwards (`...`: deleted)."""

    method: str
    part: str
    body: Any
    response: Any
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
def test_metadata_is_changed(serve: Serve, location: str, change: Change) -> None:
    client = serve(catalog_at(location, image(1, owner=PROJECT, metadata=ITEMS)))
    before = client.get(ONE).json()["image"]
    response = client.request(change.method, f"{ONE}/metadata{change.part}", json=change.body)
    assert response.status_code == (204 if change.response is None else 200)
    assert (response.json() if change.response else None) == change.response
    after = client.get(ONE).json()["image"]
    assert after["metadata"] == {key: value for key, value in (ITEMS | change.changed).items() if value is not ...}
    assert client.get(f"{ONE}/metadata").json() == {"metadata": after["metadata"]}
    assert after["updated"] > before["updated"]
    assert {**after, "metadata": 0, "updated": 0} == {**before, "metadata": 0, "updated": 0}


def test_metadata_item_is_shown(client: TestClient) -> None:
    assert client.get(f"{ONE}/metadata/b").json() == {"meta": {"b": None}}


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_missing_metadata_item_is_not_found(client: TestClient, method: str) -> None:
    response = client.request(method, f"{ONE}/metadata/no%0Athing")
    message = "The image has no metadata item 'no\\nthing'."
    assert response.json() == {"itemNotFound": {"code": 404, "message": message}}


def test_instance_uuid_in_metadata_is_the_server_of_the_image(client: TestClient) -> None:
    client.put(f"{ONE}/metadata/instance_uuid", json={"meta": {"instance_uuid": "s1"}})
    assert ids(client, f"{IMAGES}?server=s1&type=SERVER") == [image_id(1)]
    assert client.get(ONE).json()["image"]["server"]["id"] == "s1"
    client.delete(f"{ONE}/metadata/instance_uuid")
    assert ids(client, f"{IMAGES}?server=s1") == []
    assert "server" not in client.get(ONE).json()["image"]


INVALID = "Invalid request body: "
KEY = "^[A-Za-z0-9_:. -]{1,255}$"
INVALID_BODIES = [
    ("POST", "", b"", "it is not JSON: Input is a zero-length, empty document: line 1 column 1 (char 0)"),
    ("POST", "", b"[]", '[] is not of type "object"'),
    ("POST", "", b"{}", '"metadata" is a required property'),
    ("PUT", "", b'{"metadata": {}, "x": 1}', "Additional properties are not allowed ('x' was unexpected)"),
    ("PUT", "", b'{"metadata": []}', 'metadata: [] is not of type "object"'),
    ("POST", "", b'{"metadata": {"a": null}}', 'metadata.a: null is not of type "string"'),
    ("POST", "", b'{"metadata": {"a": 1}}', 'metadata.a: 1 is not of type "string"'),
    ("POST", "", b'{"metadata": {"": "1"}}', f'metadata: "" does not match "{KEY}"'),
    ("POST", "", b'{"metadata": {"a/b": "1"}}', f'metadata: "a/b" does not match "{KEY}"'),
    ("PUT", "/a", b'{"meta": {"b": "1"}}', "it does not contain the item 'a', which the path names"),
    ("PUT", "/a", b'{"meta": {}}', "meta: {} has less than 1 property"),
    ("PUT", "/a", b'{"meta": {"a": "1", "b": "2"}}', 'meta: {"a":"1","b":"2"} has more than 1 property'),
    ("PUT", "/a", b'{"meta": {"a": "\\ud800"}}', "it is not JSON: "),
    ("POST", "", b'{"metadata": {"a": ' + b"[" * 500 + b"]" * 500 + b"}}", "it is nested too deeply"),
    ("POST", "", b'{"metadata": {"a\\nb": "1"}}', f'metadata: "a\\nb" does not match "{KEY}"'),
]


@pytest.mark.parametrize(("method", "part", "body", "problem"), INVALID_BODIES)
def test_invalid_body_is_rejected_and_changes_nothing(
    client: TestClient, method: str, part: str, body: bytes, problem: str
) -> None:
    before = client.get(ONE).json()
    response = client.request(
        method, f"{ONE}/metadata{part}", content=body, headers={"Content-Type": "application/json"}
    )
    assert response.status_code == 400
    assert response.json()["badRequest"]["message"].startswith(INVALID + problem)
    assert client.get(ONE).json() == before


def test_body_with_many_errors_is_rejected_at_the_first(client: TestClient) -> None:
    items = {f"x/{number}": "" for number in range(20_000)}  # listing them all would take days
    assert client.post(f"{ONE}/metadata", json={"metadata": items}).status_code == 400


@pytest.mark.parametrize(("length", "status"), [(255, 200), (256, 400)])
def test_length_of_keys_and_values_is_limited(client: TestClient, length: int, status: int) -> None:
    for items in ({"k" * length: "v"}, {"k": "🐧" * length}):
        assert client.post(f"{ONE}/metadata", json={"metadata": items}).status_code == status


def test_largest_valid_metadata_is_accepted(client: TestClient) -> None:
    items = {f"{number:0255}": "🐧" * 255 for number in range(128)}
    assert client.put(f"{ONE}/metadata", json={"metadata": items}).json() == {"metadata": items}
    assert client.get(f"{ONE}/metadata").json() == {"metadata": items}


@pytest.mark.parametrize("method", ["PUT", "POST"])
def test_metadata_beyond_the_quota_is_forbidden(client: TestClient, method: str) -> None:
    items = {str(number): "" for number in range(129)}
    response = client.request(method, f"{ONE}/metadata", json={"metadata": items})
    assert response.status_code == 403
    assert response.json()["forbidden"]["message"].endswith(" metadata items; the maximum is 128.")
    assert len(client.get(f"{ONE}/metadata").json()["metadata"]) == 3


def test_imported_metadata_beyond_the_quota_can_shrink_but_not_grow(serve: Serve, location: str) -> None:
    client = serve(catalog_at(location, image(1, owner=PROJECT, metadata={str(number): "" for number in range(200)})))
    assert client.delete(f"{ONE}/metadata/0").status_code == 204
    assert client.put(f"{ONE}/metadata/1", json={"meta": {"1": "changed"}}).status_code == 200
    assert client.put(f"{ONE}/metadata/x", json={"meta": {"x": ""}}).status_code == 403


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "Application/JSON", "application/json; charset=x", "application/vnd.openstack.compute+json"],
)
def test_content_type_of_json_is_accepted_in_any_spelling(client: TestClient, content_type: str) -> None:
    headers = {"Content-Type": content_type}
    response = client.post(f"{ONE}/metadata", content='{"metadata": {"c": "é"}}'.encode(), headers=headers)
    assert response.json()["metadata"]["c"] == "é"


@pytest.mark.parametrize("content", [b'{"metadata": {}}', [b"{}"]], ids=["length", "chunked"])
def test_content_type_is_required_for_a_body(client: TestClient, content: Any) -> None:
    response = client.put(f"{ONE}/metadata", content=content)
    assert response.json()["badMediaType"]["message"] == "Header 'Content-Type' is missing; expected application/json."
    assert client.put(f"{ONE}/metadata").json()["badRequest"]["message"].startswith(f"{INVALID}it is not JSON")
    assert client.delete(f"{ONE}/metadata/kernel_id").status_code == 204


@pytest.mark.parametrize(
    "header",
    ["Content-Type: text/plain", "Content-Type: a, b", "Content-Type: application/x+json", "Content-Encoding: gzip"],
)
def test_other_media_type_or_encoding_is_rejected(client: TestClient, header: str) -> None:
    name, value = header.split(": ")
    response = client.post(f"{ONE}/metadata", content=b"{}", headers={"Content-Type": "application/json", name: value})
    allowed = {"Content-Type": "application/json", "Content-Encoding": "identity"}[name]
    assert response.json()["badMediaType"]["message"] == f"Header '{name}': '{value}' is not {allowed}."


@sqlite_only
def test_read_only_catalog_forbids_changes(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    connect = sqlite3.connect

    def connect_read_only(path: Path | str, **options: Any) -> Any:
        """Open the file read-only. Its permissions would not stop root."""
        return connect(path if isinstance(path, str) else f"{path.as_uri()}?mode=ro", **options | {"uri": True})

    monkeypatch.setattr(sqlite3, "connect", connect_read_only)
    response = client.delete(ONE)
    message = "The catalog is read-only: only the operator of the service can change it."
    assert response.json() == {"forbidden": {"code": 403, "message": message}}
    assert client.get(ONE).status_code == 200


def test_chunked_body_is_accepted_and_limited(client: TestClient) -> None:
    def chunks(size: int) -> Iterator[bytes]:
        yield b'{"metadata": {'
        yield from (b" " * 1000 for _ in range(size))
        yield b"}}"

    headers = {"Content-Type": "application/json"}
    assert client.post(f"{ONE}/metadata", content=chunks(10), headers=headers).status_code == 200
    response = client.post(f"{ONE}/metadata", content=chunks(1000), headers=headers)
    assert response.json() == {"overLimit": {"code": 413, "message": "The request body is larger than 1000000 bytes."}}


@pytest.mark.parametrize("path", ["/v2", "/v2/"])
def test_version_is_discoverable(client: TestClient, path: str) -> None:
    (version,) = client.get("/").json()["versions"]
    assert client.get(path).json() == {"version": version}
    assert client.get(version["links"][0]["href"]).status_code == 200


def test_operation_receives_the_parameters_as_parsed(serve: Serve, catalog: Path) -> None:
    received: list[Any] = []

    def operation(**arguments: Any) -> JSONResponse:
        received.append(arguments)
        return JSONResponse({"images": []})

    client = serve(catalog, overrides=Overrides(resolve_operation=lambda _: operation))
    client.get(f"{IMAGES}?changes-since=2011-01-24T17%3A08Z&minRam=01&status=error&marker=")
    client.get(f"{IMAGES}?type=backup")
    assert received == [
        {"changes_since": "2011-01-24T17:08Z", "min_ram": 1, "status": "ERROR", "marker": "", "type_": "ALL"}
        | {"tenant_id": PROJECT},
        {"tenant_id": PROJECT, "type_": "backup"},
    ]


@pytest.mark.parametrize(
    ("headers", "status"),
    [({"Retry-After": "5"}, 503), ({}, 500), ({"Retry-After": "5", "Content-Type": "text/html"}, 500)],
    ids=str,
)
def test_headers_of_each_response_are_validated(
    serve: Serve, catalog: Path, headers: dict[str, str], status: int
) -> None:
    def operation() -> JSONResponse:
        checks = {part: {"status": "ok"} for part in ("catalog", "migrations")}
        response = JSONResponse({"status": "unavailable", "checks": checks})
        response.status_code = 503
        response.headers.update(headers)
        return response

    client = serve(catalog, overrides=Overrides(resolve_operation=lambda _: operation))
    assert [client.get("/healthcheck/ready").status_code for _ in range(2)] == [status] * 2
