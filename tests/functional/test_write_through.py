"""Changes to a replica's images, which are made at the image service first."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import orjson
import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from app.catalog.engine import Engine
from app.catalog.engines import open_catalog
from app.catalog.replica import SYNC_STATUS_REASON
from app.catalog.tokens import add_token
from app.errors import (
    ImageNotFound,
    InvalidBody,
    MetadataItemNotFound,
    MetadataQuotaExceeded,
    NotImageOwner,
    ReplicaReadOnly,
    UpstreamConflict,
    UpstreamForbidden,
    UpstreamUnavailable,
)
from app.mirror.client import CloudConfigError, GlanceClient
from app.mirror.mapping import to_catalog_image
from app.timestamps import SYSTEM_CLOCK
from tests.conftest import Serve
from tests.support.fake_glance import (
    ATTRIBUTES,
    CONNECTION_CLOSED,
    NO_RESPONSE,
    FakeGlance,
    FakeResponse,
    glance_image,
    running_glance,
)
from tests.support.images import catalog_at, image, image_id
from tests.support.projects import OTHER_PROJECT, PROJECT
from tests.support.replicas import (
    CHANGES,
    Request,
    create_replica,
    metadata,
    mirror_of,
    running_service,
    send,
    stored,
)

IMAGE_PATH = f"/v2/images/{image_id(1)}"
LATER = "2021-01-01T00:00:00Z"
OWN = glance_image(1, owner=PROJECT, visibility="private", a="1", b="2")
FOREIGN = glance_image(2, owner=OTHER_PROJECT)
WITHOUT_OWNER = glance_image(3, owner=None)
OTHER_OWN = glance_image(4, owner=PROJECT)

each_change = pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)


@pytest.fixture
def glance() -> Iterator[FakeGlance]:
    with running_glance() as server:
        server.put(OWN, FOREIGN, WITHOUT_OWNER, OTHER_OWN)
        yield server


@pytest.fixture
def path(location: str, glance: FakeGlance) -> str:
    create_replica(open_catalog(location), glance.url, *glance.images.values())
    return location


@pytest.fixture
def catalog(path: str) -> Engine:
    return open_catalog(path)


@pytest.fixture
def client(path: str) -> Iterator[TestClient]:
    with running_service(path) as client:
        yield client


def patches(glance: FakeGlance) -> list[Any]:
    return [orjson.loads(request.body) for request in glance.requests if request.line.startswith("PATCH")]


def fault(response: Response) -> tuple[int, str, str]:
    ((name, fault),) = response.json().items()
    assert fault["code"] == response.status_code
    return response.status_code, name, fault["message"]


# --- deletion ---


def test_image_is_deleted_in_glance_with_the_callers_token_then_in_the_catalog(
    client: TestClient, glance: FakeGlance, catalog: Engine
) -> None:
    before = SYSTEM_CLOCK.now()
    assert send(client, "DELETE").status_code == 204
    assert [(request.line, request.token) for request in glance.requests] == [(f"DELETE {IMAGE_PATH}", "owner")]
    assert image_id(1) not in glance.images
    tombstone = stored(catalog)[1]
    expected = replace(to_catalog_image(OWN), status="DELETED", progress=0, updated=tombstone.updated)
    assert tombstone == expected
    assert before <= tombstone.updated <= SYSTEM_CLOCK.now()
    assert send(client, "GET").status_code == 404


def test_tombstone_is_purged_after_its_days(path: str, catalog: Engine) -> None:
    with running_service(path, tombstone_days=0) as client:
        assert send(client, "DELETE").status_code == 204
    assert 1 not in stored(catalog)


# --- metadata ---

ADD_C = {"add": "/c", "value": "4"}
REPLACE_B = {"replace": "/b", "value": "3"}
REMOVE_A = {"remove": "/a"}
B_AND_C, C, ALL = {"metadata": {"b": "3", "c": "4"}}, {"meta": {"c": "4"}}, {"a": "1", "b": "3", "c": "4"}
# The request, the JSON patch, the response and the metadata afterwards.
EDITS: dict[str, tuple[Request, list[dict[str, str]], Any, Any]] = {
    "update": (("POST", "/metadata", B_AND_C), [REPLACE_B, ADD_C], {"metadata": ALL}, ALL),
    "replace": (("PUT", "/metadata", B_AND_C), [REMOVE_A, REPLACE_B, ADD_C], B_AND_C, B_AND_C["metadata"]),
    "set item": (("PUT", "/metadata/c", C), [ADD_C], C, {"a": "1", "b": "2", "c": "4"}),
    "delete item": (("DELETE", "/metadata/a", None), [REMOVE_A], None, {"b": "2"}),
}


@pytest.mark.parametrize(("edit", "patch", "document", "items"), EDITS.values(), ids=EDITS)
def test_edit_is_sent_as_json_patch_with_the_callers_token_then_stored(  # noqa: PLR0913, PLR0917 a table's columns
    client: TestClient,
    glance: FakeGlance,
    catalog: Engine,
    edit: Request,
    patch: list[dict[str, str]],
    document: Any,
    items: Any,
) -> None:
    response = send(client, *edit)
    assert (response.status_code, response.content and response.json()) == ((200, document) if document else (204, b""))
    requests = [(request.line, request.token) for request in glance.requests]
    assert requests == [(f"GET {IMAGE_PATH}", "owner"), (f"PATCH {IMAGE_PATH}", "owner")]
    assert patches(glance) == [patch]
    assert metadata(catalog) == items


@pytest.mark.parametrize(
    "change",
    [
        ("POST", "/metadata", {"metadata": {}}),
        ("POST", "/metadata", {"metadata": {"a": "1"}}),
        ("PUT", "/metadata", {"metadata": {"a": "1", "b": "2"}}),
        ("PUT", "/metadata/a", {"meta": {"a": "1"}}),
    ],
    ids=str,
)
def test_edit_that_changes_nothing_sends_no_patch(client: TestClient, glance: FakeGlance, change: Request) -> None:
    assert send(client, *change).status_code == 200
    assert glance.take_requests() == [f"GET {IMAGE_PATH}"]


def test_edit_applies_to_the_current_image_not_to_the_stored_one(
    client: TestClient, glance: FakeGlance, catalog: Engine
) -> None:
    glance.put(glance_image(1, owner=PROJECT, name="new", visibility="public", updated_at=LATER, a="0", d="5"))
    response = send(client, "POST", "/metadata", {"metadata": {"a": "1"}})
    assert response.json() == {"metadata": {"a": "1", "d": "5"}}
    assert patches(glance) == [[{"replace": "/a", "value": "1"}]]
    expected = to_catalog_image(glance.images[image_id(1)])
    assert stored(catalog)[1] == replace(expected, visibility="private")  # only a sync changes the visibility


def test_glances_response_is_returned_and_stored(client: TestClient, glance: FakeGlance, catalog: Engine) -> None:
    glance.responses[f"PATCH {IMAGE_PATH}"] = FakeResponse(200, OWN | {"a": "one", "updated_at": LATER})
    response = send(client, "POST", "/metadata", {"metadata": {"a": "1", "c": "3"}})
    assert response.json() == {"metadata": {"a": "one", "b": "2"}}
    assert (metadata(catalog), stored(catalog)[1].updated) == ({"a": "one", "b": "2"}, LATER)


def test_properties_are_compared_as_text(client: TestClient, glance: FakeGlance) -> None:
    glance.put(glance_image(1, owner=PROJECT, a=True, b=5, c=None, d=["nested"]))
    items = {"a": "True", "b": "5", "d": '["nested"]', "e": "x"}
    assert send(client, "PUT", "/metadata", {"metadata": items}).status_code == 200
    assert patches(glance) == [[{"remove": "/c"}, {"add": "/e", "value": "x"}]]


def test_keys_are_escaped_in_json_pointers(client: TestClient, glance: FakeGlance) -> None:
    pointers = {"a/b": "/a~1b", "~": "/~0", "~1": "/~01", "/": "/~1", "a b:c.d-e": "/a b:c.d-e"}
    glance.put(glance_image(1, owner=PROJECT) | dict.fromkeys(pointers, "x"))
    assert send(client, "PUT", "/metadata", {"metadata": {}}).status_code == 200
    assert patches(glance) == [[{"remove": pointer} for pointer in pointers.values()]]
    assert glance.images[image_id(1)] == glance_image(1, owner=PROJECT)


RESERVED = {"location", "deleted", "deleted_at", "os_glance_failed_import", " a", "a "}


@pytest.mark.parametrize("key", sorted({*glance_image(), "direct_url", "locations", "stores", *RESERVED}))
def test_reserved_name_cannot_be_a_metadata_item(
    client: TestClient, glance: FakeGlance, catalog: Engine, key: str
) -> None:
    before = stored(catalog)
    for change in (
        ("POST", "/metadata", {"metadata": {"c": "3", key: "x"}}),
        ("PUT", "/metadata", {"metadata": {"c": "3", key: "x"}}),
        ("PUT", f"/metadata/{key}", {"meta": {key: "x"}}),
    ):
        error = InvalidBody(f"the image service does not allow changes of a metadata item with the key '{key}'")
        assert fault(send(client, *change)) == (400, "badRequest", str(error))
    assert send(client, "DELETE", f"/metadata/{key}").status_code == 404
    assert (patches(glance), stored(catalog)) == ([], before)


@pytest.mark.parametrize("key", sorted(ATTRIBUTES))
def test_name_that_glance_cannot_take_is_a_bad_request(
    client: TestClient, glance: FakeGlance, catalog: Engine, key: str
) -> None:
    before = stored(catalog)
    error = InvalidBody(f"the image service cannot store a metadata item with the key '{key}'")
    assert fault(send(client, "PUT", f"/metadata/{key}", {"meta": {key: "x"}})) == (400, "badRequest", str(error))
    assert (glance.images[image_id(1)], stored(catalog)) == (OWN, before)


def test_item_that_another_client_adds_meanwhile_is_a_conflict(client: TestClient, glance: FakeGlance) -> None:
    glance.before[f"PATCH {IMAGE_PATH}"] = lambda: glance.put(OWN | {"c": "5"})
    expected = (409, "conflictingRequest", str(UpstreamConflict(image_id(1))))
    assert fault(send(client, *EDITS["set item"][0])) == expected


def test_unchanged_item_with_a_reserved_name_can_be_echoed(client: TestClient, glance: FakeGlance) -> None:
    glance.put(OWN | {"os_glance_failed_import": "x"})
    items = {"a": "1", "os_glance_failed_import": "x"}
    assert send(client, "PUT", "/metadata", {"metadata": items}).json() == {"metadata": items}


def test_item_that_glance_lacks_is_not_found(client: TestClient, glance: FakeGlance, catalog: Engine) -> None:
    glance.put(glance_image(1, owner=PROJECT))
    assert fault(send(client, "DELETE", "/metadata/a")) == (404, "itemNotFound", str(MetadataItemNotFound("a")))
    assert (glance.take_requests(), metadata(catalog)) == ([f"GET {IMAGE_PATH}"], {"a": "1", "b": "2"})
    assert stored(catalog)[1].status == "ACTIVE"


def test_quota_limits_added_items(client: TestClient, glance: FakeGlance) -> None:
    glance.put(glance_image(1, owner=PROJECT) | {str(number): "x" for number in range(128)})
    response = send(client, "POST", "/metadata", {"metadata": {"a": "1"}})
    assert fault(response) == (403, "forbidden", str(MetadataQuotaExceeded(129, 128)))
    assert send(client, "POST", "/metadata", {"metadata": {"5": "y"}}).status_code == 200
    assert patches(glance) == [[{"replace": "/5", "value": "y"}]]


def fail(glance: FakeGlance, catalog: Engine) -> Any:
    """Make a sync fail to copy the image. Return its metadata, which have the reason."""
    glance.put(OWN | {"name": 5})
    mirror_of(glance, catalog).sync(full=True)
    glance.put(OWN)
    return metadata(catalog)


def test_echoed_status_reason_is_not_sent_to_glance(client: TestClient, glance: FakeGlance, catalog: Engine) -> None:
    items = fail(glance, catalog)
    assert items.keys() == {"a", "b", SYNC_STATUS_REASON}
    for method in ("PUT", "POST"):
        response = send(client, method, "/metadata", {"metadata": items | {"c": method}})
        assert response.json() == {"metadata": {"a": "1", "b": "2", "c": method}}
        fail(glance, catalog)
    assert patches(glance) == [[{"add": "/c", "value": method}] for method in ("PUT", "POST")]


def test_edit_recovers_a_failed_image(client: TestClient, glance: FakeGlance, catalog: Engine) -> None:
    items = fail(glance, catalog)
    before = SYSTEM_CLOCK.now()
    assert send(client, "PUT", "/metadata", {"metadata": items}).json() == {"metadata": {"a": "1", "b": "2"}}
    assert (patches(glance), metadata(catalog)) == ([], {"a": "1", "b": "2"})
    assert stored(catalog)[1].updated >= before


def test_status_reason_of_a_client_is_data(client: TestClient, glance: FakeGlance, catalog: Engine) -> None:
    items = fail(glance, catalog) | {SYNC_STATUS_REASON: "a client's"}
    response = send(client, "PUT", "/metadata", {"metadata": items})
    assert response.json() == {"metadata": items}
    assert metadata(catalog) == items


def test_status_reason_of_glance_is_preserved(client: TestClient, glance: FakeGlance, catalog: Engine) -> None:
    glance.put(OWN | {SYNC_STATUS_REASON: "upstream's"})
    mirror_of(glance, catalog).sync(full=True)
    items = metadata(catalog) | {"c": "3"}
    assert send(client, "PUT", "/metadata", {"metadata": items}).json() == {"metadata": items}
    assert items == {"a": "1", "b": "2", "c": "3", SYNC_STATUS_REASON: "upstream's"}
    assert patches(glance) == [[{"add": "/c", "value": "3"}]]


def test_changes_since_lists_changed_and_deleted_images(client: TestClient) -> None:
    before = SYSTEM_CLOCK.now()
    for change, status in (("set item", "ACTIVE"), ("delete", "DELETED")):
        send(client, *CHANGES[change])
        url = f"/v2/{PROJECT}/images/detail?changes-since={before}&status={status}"
        response = client.get(url, headers={"X-Auth-Token": "owner"})
        assert image_id(1) in [image["id"] for image in response.json()["images"]]


# --- permissions ---


@each_change
def test_unauthorized_change_is_rejected_without_a_request_to_glance(
    client: TestClient, glance: FakeGlance, change: Request
) -> None:
    assert fault(send(client, *change, number=2)) == (403, "forbidden", str(NotImageOwner(image_id(2))))
    assert send(client, *change, caller="other", number=1).status_code == 404
    assert glance.take_requests() == []


@each_change
def test_admin_can_change_an_image_without_owner(client: TestClient, glance: FakeGlance, change: Request) -> None:
    glance.put(WITHOUT_OWNER | {"a": "1"})
    assert send(client, *change, caller="admin", number=3).status_code in {200, 204}
    assert {request.token for request in glance.requests} == {"admin"}


def no_clients(*_: object) -> GlanceClient:
    raise CloudConfigError("no cloud")


def test_catalog_that_is_no_replica_is_changed_directly(location: str) -> None:
    path = catalog_at(location, image(1, owner=PROJECT, metadata={"a": "1"}))
    with running_service(path, clients=no_clients) as client:
        assert send(client, *CHANGES["update"]).json() == {"metadata": {"a": "x"}}
        assert send(client, "GET", number=9).status_code == 404
        assert send(client, "DELETE").status_code == 204
    assert stored(open_catalog(path))[1].status == "DELETED"


@each_change
@pytest.mark.parametrize("auth", ["none", "token"])
def test_replica_is_read_only_without_keystone_authentication(  # noqa: PLR0913, PLR0917 a table and four fixtures
    serve: Serve, glance: FakeGlance, path: str, catalog: Engine, auth: str, change: Request
) -> None:
    client, (method, suffix, body) = serve(path, auth=auth), change
    headers = {"X-Auth-Token": add_token(catalog, PROJECT, is_admin=True, expires=None)}
    before = stored(catalog)
    url = f"/v2/{PROJECT}/images/{image_id(1)}{suffix}"
    error = ReplicaReadOnly(image_id(1), glance.url)
    assert fault(client.request(method, url, json=body, headers=headers)) == (403, "forbidden", str(error))
    assert client.get(url.replace(image_id(1), image_id(9)), headers=headers).status_code == 404
    assert (stored(catalog), glance.take_requests()) == (before, [])


# --- failures of the image service ---

Fault = tuple[int, str, str]
FORBIDDEN: Fault = (403, "forbidden", str(UpstreamForbidden(image_id(1))))
UNAVAILABLE: Fault = (503, "serviceUnavailable", str(UpstreamUnavailable()))
NOT_FOUND: Fault = (404, "itemNotFound", str(ImageNotFound()))
REDIRECT = FakeResponse(302, b"", (("Location", f"http://127.0.0.1:1{IMAGE_PATH}"), ("Content-Length", "0")))
FAILURES: dict[str, tuple[FakeResponse, Fault]] = {
    "400": (FakeResponse(400), (400, "badRequest", str(InvalidBody("the image service rejected it")))),
    "401": (FakeResponse(401), (401, "unauthorized", "The image service rejected the token.")),
    "403": (FakeResponse(403), FORBIDDEN),
    "409": (FakeResponse(409), (409, "conflictingRequest", str(UpstreamConflict(image_id(1))))),
    "413": (FakeResponse(413), FORBIDDEN),
    **{str(status): (FakeResponse(status), UNAVAILABLE) for status in (302, 410, 429, 500, 503)},
    "302 with a location": (REDIRECT, UNAVAILABLE),
    "no response": (NO_RESPONSE, UNAVAILABLE),
    "closed connection": (CONNECTION_CLOSED, UNAVAILABLE),
    "HTML": (FakeResponse(200, b"<html>"), UNAVAILABLE),
}
each_request = pytest.mark.parametrize(
    ("change", "request_line"),
    [
        (CHANGES["delete"], f"DELETE {IMAGE_PATH}"),
        (CHANGES["update"], f"GET {IMAGE_PATH}"),
        (CHANGES["update"], f"PATCH {IMAGE_PATH}"),
        (CHANGES["delete item"], f"PATCH {IMAGE_PATH}"),
    ],
    ids=["delete", "get", "update", "delete item"],
)


@pytest.mark.parametrize(("failure", "expected"), FAILURES.values(), ids=FAILURES)
@each_request
def test_failure_of_glance_becomes_a_fault_and_changes_nothing(  # noqa: PLR0913, PLR0917 two tables and three fixtures
    client: TestClient,
    glance: FakeGlance,
    catalog: Engine,
    change: Request,
    request_line: str,
    failure: FakeResponse,
    expected: Fault,
) -> None:
    before = stored(catalog)
    glance.responses[request_line] = failure
    response = send(client, *change)
    assert fault(response) == expected
    challenge = 'Keystone uri="http://keystone.test/v3"' if expected[0] == 401 else None
    assert response.headers.get("WWW-Authenticate") == challenge
    assert (stored(catalog), glance.take_requests()[-1]) == (before, request_line)


@each_request
def test_image_missing_in_glance_is_deleted_in_the_catalog(
    client: TestClient, glance: FakeGlance, catalog: Engine, change: Request, request_line: str
) -> None:
    before = stored(catalog)
    glance.before[request_line] = lambda: glance.remove(1)
    assert fault(send(client, *change)) == NOT_FOUND
    after = stored(catalog)
    assert after == before | {1: replace(before[1], status="DELETED", progress=0, updated=after[1].updated)}
    glance.take_requests()
    assert fault(send(client, *change)) == NOT_FOUND
    assert glance.take_requests() == []


@pytest.mark.parametrize(
    ("change", "method", "expected"),
    [("delete", "DELETE", UNAVAILABLE), ("update", "PATCH", FAILURES["400"][1])],
)
def test_404_for_an_image_that_exists_changes_nothing(  # noqa: PLR0913, PLR0917 a table and three fixtures
    client: TestClient, glance: FakeGlance, catalog: Engine, change: str, method: str, expected: Fault
) -> None:
    before = stored(catalog)
    glance.responses[f"{method} {IMAGE_PATH}"] = FakeResponse(404)
    assert fault(send(client, *CHANGES[change])) == expected
    expected_requests = [f"{method} {IMAGE_PATH}", f"GET {IMAGE_PATH}"]
    assert (stored(catalog), glance.take_requests()[-2:]) == (before, expected_requests)


MALFORMED_IMAGES: dict[str, Any] = {
    "empty": b"",
    "null": None,
    "a list": [],
    "another document": {"image": OWN},
    "an invalid field": OWN | {"min_disk": "x"},
    "an invalid time": OWN | {"updated_at": "now"},
}


@pytest.mark.parametrize("method", ["GET", "PATCH"])
@pytest.mark.parametrize("document", MALFORMED_IMAGES.values(), ids=MALFORMED_IMAGES)
def test_malformed_image_of_glance_becomes_a_fault_and_changes_nothing(
    client: TestClient, glance: FakeGlance, catalog: Engine, method: str, document: Any
) -> None:
    before = stored(catalog)
    glance.responses[f"{method} {IMAGE_PATH}"] = FakeResponse(200, document)
    assert fault(send(client, *CHANGES["update"])) == UNAVAILABLE
    assert (stored(catalog), glance.take_requests()[-1]) == (before, f"{method} {IMAGE_PATH}")


@each_change
def test_reason_of_a_failure_is_logged(
    client: TestClient, glance: FakeGlance, caplog: pytest.LogCaptureFixture, change: Request
) -> None:
    glance.responses = {f"{method} {IMAGE_PATH}": CONNECTION_CLOSED for method in ("GET", "DELETE")}
    send(client, *change)
    reason = "A connection failure occurred at the image service: Unable to establish"
    assert f"Image {image_id(1)} could not be changed: {reason}" in caplog.text


def test_unreachable_glance_becomes_a_fault(location: str) -> None:
    create_replica(open_catalog(location), "http://127.0.0.1:1", OWN)
    with running_service(location) as client:
        for change in CHANGES.values():
            assert fault(send(client, *change)) == UNAVAILABLE
    assert stored(open_catalog(location)) == {1: to_catalog_image(OWN)}


def test_invalid_cloud_configuration_becomes_a_fault_and_is_logged(
    path: str, catalog: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    before = stored(catalog)
    with running_service(path, clients=no_clients) as client:
        for change in CHANGES.values():
            assert fault(send(client, *change)) == UNAVAILABLE
        assert send(client, "GET", number=9).status_code == 404
    assert stored(catalog) == before
    error = CloudConfigError("no cloud")
    assert f"Image {image_id(1)} could not be changed: {error}" in caplog.text
    assert f"Image {image_id(9)} could not be fetched: {error}" in caplog.text


def test_changes_wait_for_glance_concurrently(client: TestClient, glance: FakeGlance, catalog: Engine) -> None:
    both = threading.Barrier(2, timeout=5)
    for number in (1, 4):
        glance.before[f"DELETE /v2/images/{image_id(number)}"] = both.wait
    with ThreadPoolExecutor(2) as threads:
        responses = [threads.submit(send, client, "DELETE", number=number) for number in (1, 4)]
    assert [response.result().status_code for response in responses] == [204, 204]
    assert [stored(catalog)[number].status for number in (1, 4)] == ["DELETED"] * 2
