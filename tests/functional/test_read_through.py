"""Images that a replica lacks, which are fetched from the image service."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.catalog.engine import Engine
from app.catalog.engines import open_catalog
from app.mirror.client import GlanceClient
from app.mirror.mapping import to_catalog_image
from app.timestamps import SYSTEM_CLOCK
from tests.support.fake_glance import (
    CONNECTION_CLOSED,
    NO_RESPONSE,
    FakeGlance,
    FakeResponse,
    glance_client,
    glance_image,
    running_glance,
)
from tests.support.images import image_id
from tests.support.projects import OTHER_PROJECT, PROJECT
from tests.support.replicas import (
    CHANGES,
    Request,
    create_replica,
    mirror_of,
    running_service,
    send,
    stored,
)

STORED = glance_image(1, owner=PROJECT, visibility="private", a="1")
NEW = glance_image(9, owner=PROJECT, visibility="private", a="1")
PATH = f"/v2/images/{image_id(9)}"
FETCH = f"GET {PATH}"

READS: dict[str, Request] = {
    "show": ("GET", "", None),
    "head": ("HEAD", "", None),
    "metadata": ("GET", "/metadata", None),
    "item": ("GET", "/metadata/a", None),
}


@pytest.fixture
def glance() -> Iterator[FakeGlance]:
    """Run a fake Glance with an image that the replica lacks."""
    with running_glance() as server:
        server.put(STORED, NEW)
        yield server


@pytest.fixture
def path(location: str, glance: FakeGlance) -> str:
    create_replica(open_catalog(location), glance.url, STORED)
    return location


@pytest.fixture
def catalog(path: str) -> Engine:
    return open_catalog(path)


@pytest.fixture
def client(path: str) -> Iterator[TestClient]:
    with running_service(path) as client:
        yield client


def show_to(client: TestClient, *callers: str) -> list[int]:
    """Return the status of a request for the new image by each caller."""
    return [send(client, caller=caller, number=9).status_code for caller in callers]


@pytest.mark.parametrize("request_", (READS | CHANGES).values(), ids=READS | CHANGES)
def test_missing_image_is_fetched_with_the_callers_token_and_stored(
    client: TestClient, glance: FakeGlance, catalog: Engine, request_: Request
) -> None:
    assert send(client, *request_, number=9).status_code in {200, 204}
    assert (glance.requests[0].line, glance.requests[0].token) == (FETCH, "owner")
    assert 9 in stored(catalog)


def test_bookmarked_image_is_fetched_too(client: TestClient) -> None:
    assert client.get(f"/{PROJECT}/images/{image_id(9)}", headers={"X-Auth-Token": "owner"}).status_code == 200


def test_fetched_image_is_served_from_the_catalog_and_listed(
    client: TestClient, glance: FakeGlance, catalog: Engine
) -> None:
    assert [send(client, number=9).json()["image"]["metadata"] for _ in range(2)] == [{"a": "1"}] * 2
    assert glance.take_requests() == [FETCH]
    assert stored(catalog)[9] == to_catalog_image(NEW)  # its time of change included
    listed = client.get(f"/v2/{PROJECT}/images", headers={"X-Auth-Token": "owner"}).json()["images"]
    assert [image["id"] for image in listed] == [image_id(1), image_id(9)]  # ties are in the order of insertion
    url = f"/v2/{PROJECT}/images?changes-since={SYSTEM_CLOCK.now()}"
    assert [image["id"] for image in client.get(url, headers={"X-Auth-Token": "owner"}).json()["images"]][-1:] == [
        image_id(9)
    ]


def test_fetched_image_can_be_changed_and_deleted(client: TestClient, glance: FakeGlance, catalog: Engine) -> None:
    assert send(client, *CHANGES["update"], number=9).json() == {"metadata": {"a": "x"}}
    assert send(client, *CHANGES["delete"], number=9).status_code == 204
    assert glance.take_requests() == [FETCH, FETCH, f"PATCH {PATH}", f"DELETE {PATH}"]
    assert stored(catalog)[9].status == "DELETED"


@pytest.mark.parametrize("full", [True, False], ids=["full", "incremental"])
def test_shared_image_is_visible_to_members_after_the_next_sync(
    client: TestClient, glance: FakeGlance, catalog: Engine, full: bool
) -> None:
    mirror = mirror_of(glance, catalog)
    glance.remove(9)
    mirror.sync(full=True)
    glance.put(NEW | {"visibility": "shared"})
    glance.share(9, **{OTHER_PROJECT: "accepted"})
    assert show_to(client, "other", "owner", "other") == [404, 200, 404]
    assert send(client, *CHANGES["update"], number=9).status_code == 200
    assert show_to(client, "other") == [404]
    assert mirror.sync(full=full).is_full is full
    assert show_to(client, "owner", "other") == [200, 200]


@pytest.mark.parametrize(
    ("visibility", "status"), [("public", 200), ("community", 200), ("shared", 404), ("private", 404)]
)
def test_visibility_is_enforced_by_the_service(
    client: TestClient, glance: FakeGlance, visibility: str, status: int
) -> None:
    glance.put(NEW | {"visibility": visibility})
    assert show_to(client, "other", "owner") == [status, 200]
    assert glance.take_requests() == [FETCH]


NO_IMAGES: list[Any] = [None, [], {"image": {}}]
FAILURES: dict[str, FakeResponse] = {
    **{str(status): FakeResponse(status) for status in (400, 401, 403, 404, 500)},
    "302": FakeResponse(302, b"", (("Location", f"http://127.0.0.1:1{PATH}"), ("Content-Length", "0"))),
    "no response": NO_RESPONSE,
    "closed connection": CONNECTION_CLOSED,
    "HTML": FakeResponse(200, b"<html>"),
    "empty": FakeResponse(200),
    **{str(document): FakeResponse(200, document) for document in NO_IMAGES},
    **{
        str(fields): FakeResponse(200, NEW | fields)
        for fields in (
            {"min_disk": "x"},
            {"updated_at": "now"},
        )
    },
}


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
def test_image_that_cannot_be_fetched_is_not_found(
    client: TestClient, glance: FakeGlance, catalog: Engine, failure: FakeResponse
) -> None:
    before = stored(catalog)
    glance.responses[FETCH] = failure
    for request in (READS["show"], CHANGES["update"]):
        response = send(client, *request, number=9)
        assert (response.status_code, list(response.json())) == (404, ["itemNotFound"])
    assert (glance.take_requests(), stored(catalog)) == ([FETCH, FETCH], before)


@pytest.mark.parametrize(
    ("fields", "status"),
    [({"os_hidden": True}, "ACTIVE"), ({"status": "killed"}, "ERROR"), ({"status": "pending_delete"}, "DELETED")],
    ids=str,
)
def test_image_that_lists_omit_is_shown_as_glance_shows_it(
    client: TestClient, glance: FakeGlance, fields: dict[str, object], status: str
) -> None:
    glance.put(NEW | fields)
    for _ in range(2):
        response = send(client, number=9)
        assert (response.status_code, response.json()["image"]["status"]) == (200, status)
    assert glance.take_requests() == [FETCH]
    change = send(client, *CHANGES["update"], number=9)
    assert change.status_code == (404 if status == "DELETED" else 200)


def test_tombstone_is_not_fetched(client: TestClient, glance: FakeGlance) -> None:
    send(client, "DELETE")
    glance.put(STORED)
    glance.take_requests()
    assert send(client).status_code == 404
    assert glance.take_requests() == []


@pytest.mark.parametrize(
    "target",
    [
        "images",
        "images/detail",
        f"images?marker={image_id(9)}",
        f"images/{image_id(9).upper()[:-1]}A",
        f"images/{image_id(9).replace('-', '')}",
        "images/x",
        f"images/{image_id(1)}/metadata/z",
    ],
)
def test_other_requests_fetch_nothing(client: TestClient, glance: FakeGlance, target: str) -> None:
    client.get(f"/v2/{PROJECT}/{target}", headers={"X-Auth-Token": "owner"})
    assert glance.take_requests() == []


@pytest.mark.parametrize(
    ("caller", "project", "number", "status"),
    [("other", PROJECT, 9, 403), ("other", OTHER_PROJECT, 1, 404), ("unknown", PROJECT, 9, 401), ("", PROJECT, 9, 401)],
    ids=["another project", "an invisible image", "an invalid token", "no token"],
)
def test_rejected_caller_fetches_nothing(  # noqa: PLR0913, PLR0917 a table and two fixtures
    client: TestClient, glance: FakeGlance, caller: str, project: str, number: int, status: int
) -> None:
    assert send(client, caller=caller, project=project, number=number).status_code == status
    assert glance.take_requests() == []


def test_replica_without_admin_access_fetches_nothing(glance: FakeGlance, location: str) -> None:
    create_replica(open_catalog(location), glance.url, STORED, is_admin=False)
    with running_service(location) as client:
        statuses = {send(client, *request, number=9).status_code for request in (READS | CHANGES).values()}
    assert (statuses, glance.take_requests()) == ({404}, [])


def test_other_requests_are_served_while_an_image_is_fetched(path: str, glance: FakeGlance) -> None:
    fetching, served = threading.Event(), threading.Event()
    in_time: list[bool] = []

    def wait() -> None:
        fetching.set()
        in_time.append(served.wait(3))

    glance.before[FETCH] = wait

    def patient_client(url: str, token: str, timeout: float) -> GlanceClient:
        return glance_client(url, token=token, timeout=timeout)

    with running_service(path, clients=patient_client) as client, ThreadPoolExecutor(1) as threads:
        fetched = threads.submit(send, client, number=9)
        assert fetching.wait(5)
        assert send(client).status_code == 200
        served.set()
        assert (fetched.result().status_code, in_time) == (200, [True])
