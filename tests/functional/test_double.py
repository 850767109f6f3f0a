"""A test double: the operations that control it, failures, and what is not there unless it is one."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from app.catalog.engines import open_catalog
from app.catalog.tokens import add_token
from app.contract.document import Contract
from app.server.single_process import create_double
from app.settings import Settings
from tests.conftest import Serve
from tests.support.images import catalog_of, image, image_id
from tests.support.projects import PROJECT

IMAGES = f"/v2/{PROJECT}/images"
NO_VIEWER = "owner is missing: no project could see the image, whose visibility is {}"
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    shared = image(51, owner=PROJECT, visibility="shared", members=["2" * 32])
    return catalog_of(tmp_path_factory.mktemp("double"), image(50), shared, image(52))


@contextmanager
def client_of(catalog: Path, **headers: str) -> Iterator[TestClient]:
    app, _ = create_double(Settings(catalog=str(catalog)))
    with app.test_client(base_url="http://compute.test", headers=headers, raise_server_exceptions=False) as client:
        yield cast("TestClient", client)


@pytest.fixture(scope="module")
def double(catalog: Path) -> Iterator[TestClient]:
    with client_of(catalog) as client:
        yield client


@pytest.fixture
def client(double: TestClient) -> TestClient:
    control(double, "POST", "reset")
    return double


def control(client: TestClient, method: str, name: str, document: Any = None) -> Any:
    response = client.request(method, f"/testing/{name}", json=document)
    assert response.status_code in {200, 201, 204}, response.text
    return response.json() if response.content else None


def add(client: TestClient, **fields: Any) -> dict[str, Any]:
    (added,) = control(client, "POST", "images", {"images": [fields]})["images"]
    return cast("dict[str, Any]", added)


def fail(client: TestClient, **fields: Any) -> None:
    control(client, "POST", "failures", {"failure": fields})


def fault(response: Response) -> tuple[int, str]:
    """Return the status and the key of a fault. Its document has to repeat the status."""
    ((key, document),) = response.json().items()
    assert document["code"] == response.status_code
    return response.status_code, key


def recorded(client: TestClient, *fields: str) -> list[tuple[Any, ...]]:
    return [tuple(each[field] for field in fields) for each in control(client, "GET", "requests")["requests"]]


def state(path: Path) -> tuple[Any, ...]:
    with open_catalog(path).open_snapshot() as snapshot:
        images = list(snapshot.all_images(owner=None, deleted=True))
        return images, snapshot.replicated_images(None), snapshot.tokens()


# --- other services, and the document ---


def test_other_services_lack_the_control_operations(serve: Serve, catalog: Path) -> None:
    client = serve(catalog)
    for text in (client.get("/openapi.json").text, client.get("/openapi.yaml").text):
        assert all(word not in text for word in ("/testing", "Prefer", "x-test-double", "TestFailure"))
    for method, path in (("GET", "requests"), ("POST", "reset"), ("PUT", "clock")):
        assert client.request(method, f"/testing/{path}").status_code == 404
    response = client.get(IMAGES, headers={"Prefer": "status=503, nonsense;;="})
    assert (response.status_code, "preference-applied" in response.headers) == (200, False)


def test_document_of_a_test_double_has_its_operations(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    expected = Contract.load(secured=True, testing=True).document
    assert document | {"servers": expected["servers"]} == expected
    assert {"name": "Testing"}.items() <= document["tags"][-1].items()


# --- images ---


def test_image_without_fields_has_defaults(client: TestClient) -> None:
    control(client, "PUT", "clock", {"clock": {"time": "2030-01-01T00:00:00Z"}})
    added = add(client)
    links = added.pop("links")
    assert links[0]["href"] == f"http://compute.test/v2/openstack/images/{image_id(1)}"
    assert added == {
        "id": image_id(1),
        "name": "image-1",
        "status": "ACTIVE",
        "progress": 100,
        "created": "2030-01-01T00:00:00Z",
        "updated": "2030-01-01T00:00:00Z",
        "minDisk": 0,
        "minRam": 0,
        "metadata": {},
    }


def test_stated_fields_are_those_of_image_files(client: TestClient) -> None:
    added = add(
        client, id=image_id(9), name="x", status="saving", owner=PROJECT, visibility="private", server={"id": "s"}
    )
    assert (added["id"], added["name"], added["status"], added["progress"]) == (image_id(9), "x", "SAVING", 50)
    assert added["server"]["id"] == added["metadata"]["instance_uuid"] == "s"
    assert client.get(f"{IMAGES}/{image_id(9)}").json() == {"image": added}
    assert client.get(f"/v2/other/images/{image_id(9)}").status_code == 404


def test_images_are_listed_in_the_order_in_which_they_are_added(client: TestClient) -> None:
    for name in ("a", "b"):
        add(client, name=name)
    control(client, "POST", "clock", {"clock": {"advance": 1}})
    add(client, name="c")
    names = [each["name"] for each in client.get(f"{IMAGES}/detail?limit=3").json()["images"]]
    assert names == ["c", "a", "b"]


def test_image_with_an_existing_id_is_changed(client: TestClient) -> None:
    before = add(client, id=image_id(9), name="x", status="SAVING", minRam=1)
    control(client, "PUT", "clock", {"clock": {"time": "2050-01-01T00:00:00Z"}})
    changes = {"status": "ACTIVE", "progress": 100, "updated": "2050-01-01T00:00:00Z"}
    assert add(client, id=image_id(9), status="ACTIVE") == before | changes


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"status": "x"}, 'status: "x" is not one of ACTIVE, SAVING, DELETED, ERROR, UNKNOWN'),
        ({"min_disk": 1}, "'min_disk' is not a field of image files; did you mean 'minDisk'?"),
        ({"id": 1}, "id: 1 is not a UUID"),
        ({"visibility": "private"}, NO_VIEWER.format("private")),
        ({"visibility": "shared", "members": []}, NO_VIEWER.format("shared")),
        ({"members": ["a"]}, "members is for the visibility shared; that of the image is public"),
    ],
)
def test_invalid_image_is_rejected_and_none_is_added(client: TestClient, fields: dict[str, Any], message: str) -> None:
    response = client.post("/testing/images", json={"images": [{"id": image_id(1)}, fields]})
    expected = {"code": 400, "message": f"Invalid request body: images[1]: {message}."}
    assert response.json() == {"badRequest": expected}
    assert client.get(f"{IMAGES}/{image_id(1)}").status_code == 404


@pytest.mark.parametrize(
    "fields",
    [{"visibility": "shared", "members": ["a"]}, {"visibility": "private", "owner": None}, {"visibility": "community"}],
)
def test_image_is_accepted_that_a_project_can_see_or_that_states_no_owner(
    client: TestClient, fields: dict[str, Any]
) -> None:
    assert add(client, **fields)["name"] == "image-1"


# --- tokens and the clock ---


def statuses(client: TestClient, *tokens: str) -> list[int]:
    return [client.get(IMAGES, headers={"X-Auth-Token": each} if each else {}).status_code for each in tokens]


def test_token_is_required_while_there_is_one(client: TestClient) -> None:
    assert statuses(client, "", "x") == [200, 200]
    token = control(client, "POST", "tokens", {"token": {"project": PROJECT}})["token"]
    other = control(client, "POST", "tokens", {"token": {"project": "other"}})["token"]
    admin = control(client, "POST", "tokens", {"token": {"project": "other", "admin": True}})["token"]
    assert statuses(client, "", "x", token, other, admin) == [401, 401, 200, 403, 200]
    control(client, "POST", "reset")
    assert statuses(client, "", token) == [200, 200]


@pytest.mark.parametrize("expiry", [{"expires": "2030-01-01T01:00:00Z"}, {"expires_in": 3600}])
def test_token_expires_by_the_clock(client: TestClient, expiry: dict[str, Any]) -> None:
    control(client, "PUT", "clock", {"clock": {"time": "2030-01-01T00:00:00Z"}})
    token = control(client, "POST", "tokens", {"token": {"project": PROJECT, **expiry}})["token"]
    control(client, "POST", "clock", {"clock": {"advance": 3599}})
    assert statuses(client, token, token) == [200, 200]
    assert control(client, "POST", "clock", {"clock": {"advance": 1}}) == {"clock": {"time": "2030-01-01T01:00:00Z"}}
    assert statuses(client, token) == [401]


def test_changes_have_the_time_of_the_clock(client: TestClient) -> None:
    for time, path in (("2040-01-01T00:00:00Z", "metadata/a"), ("2041-01-01T00:00:00Z", "")):
        control(client, "PUT", "clock", {"clock": {"time": time}})
        method, body = ("PUT", {"meta": {"a": "1"}}) if path else ("DELETE", None)
        assert client.request(method, f"{IMAGES}/{image_id(50)}/{path}".rstrip("/"), json=body).is_success
        (changed,) = client.get(f"{IMAGES}/detail?changes-since={time}").json()["images"]
        assert (changed["id"], changed["updated"]) == (image_id(50), time)


@pytest.mark.parametrize(
    ("method", "path", "document", "problem"),
    [
        ("PUT", "clock", {"clock": {"time": "soon"}}, 'clock.time: "soon" is not a time such as 2011-01-01T01:02:03Z'),
        ("POST", "tokens", {"token": {"project": "a/b"}}, 'token.project: "a/b" is not a project id: 1 to 64 charact'),
    ],
)
def test_invalid_text_is_explained_in_words(
    client: TestClient, method: str, path: str, document: Any, problem: str
) -> None:
    response = client.request(method, f"/testing/{path}", json=document)
    assert response.json()["badRequest"]["message"].startswith(f"Invalid request body: {problem}")


@pytest.mark.parametrize(
    ("time", "shown"),
    [("0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z"), ("9999-12-31T23:59:59Z", "9800-01-01T00:00:00Z")],
)
def test_clock_stays_in_a_range_that_all_expiry_times_fit(client: TestClient, time: str, shown: str) -> None:
    assert control(client, "PUT", "clock", {"clock": {"time": time}}) == {"clock": {"time": shown}}
    control(client, "POST", "tokens", {"token": {"project": PROJECT, "expires_in": 3_000_000_000, "admin": True}})
    control(client, "POST", "tokens", {"token": {"project": PROJECT}})
    add(client)


def test_reset_clock_follows_the_clock_of_the_system(client: TestClient) -> None:
    control(client, "POST", "clock", {"clock": {"advance": 3_000_000_000}})
    assert control(client, "GET", "clock")["clock"]["time"] > "2120"
    control(client, "POST", "reset")
    assert control(client, "GET", "clock")["clock"]["time"] < "2100"


# --- reset ---


def test_reset_restores_the_catalog_as_it_was_at_the_start(tmp_path: Path) -> None:
    catalog = catalog_of(tmp_path, image(1, owner=PROJECT, visibility="shared", members=["2" * 32]), image(2), image(3))
    with client_of(catalog) as client:
        client.delete(f"{IMAGES}/{image_id(3)}")  # leaves a tombstone
    token = add_token(open_catalog(catalog), PROJECT, is_admin=True, expires=None)
    before = state(catalog)
    with client_of(catalog, **{"X-Auth-Token": token}) as client:
        add(client, owner=PROJECT, visibility="shared", members=["3" * 32])
        assert [client.delete(f"{IMAGES}/{image_id(number)}").status_code for number in (1, 2)] == [204, 204]
        control(client, "POST", "tokens", {"token": {"project": PROJECT}})
        fail(client, operation="listImages", status=500)
        assert state(catalog) != before
        control(client, "POST", "reset")
        assert state(catalog) == before
        assert (control(client, "GET", "failures"), recorded(client)) == ({"failures": []}, [])
        assert len(client.get(IMAGES).json()["images"]) == 2  # no stored response is used


# --- recorded requests ---


def test_requests_are_recorded_in_order(client: TestClient) -> None:
    client.get(f"{IMAGES}?name=a%20b", headers={"X-Auth-Token": "t"})
    client.get(f"{IMAGES}?name=a%20b")  # from the cache
    client.put(f"{IMAGES}/{image_id(50)}/metadata/a", content=b'{"meta": {"a": "\xff', headers=JSON)
    client.post("/elsewhere")
    assert recorded(client, "method", "path", "query", "operation", "status", "body") == [
        ("GET", IMAGES, "name=a%20b", "listImages", 200, ""),
        ("GET", IMAGES, "name=a%20b", "listImages", 200, ""),
        ("PUT", f"{IMAGES}/{image_id(50)}/metadata/a", "", "setMetadataItem", 400, '{"meta": {"a": "\ufffd'),
        ("POST", "/elsewhere", "", None, 404, ""),
    ]
    ((headers,), *_) = recorded(client, "headers")
    assert ["x-auth-token", "t"] in headers


def test_only_the_last_thousand_requests_are_recorded(client: TestClient) -> None:
    for number in range(1002):
        client.get(f"/?{number}")
    assert recorded(client, "query") == [(str(number),) for number in range(2, 1002)]


# --- pages ---


def test_lists_without_limit_have_the_page_size(client: TestClient) -> None:
    assert "images_links" not in client.get(IMAGES).json()
    assert control(client, "PUT", "pages", {"pages": {"size": 2}}) == {"pages": {"size": 2}}
    first = client.get(f"{IMAGES}?type=ALL").json()
    second = client.get(first["images_links"][0]["href"]).json()
    assert [[each["id"][-2:] for each in page["images"]] for page in (first, second)] == [["50", "51"], ["52"]]
    assert recorded(client, "query")[1:] == [("type=ALL",), (f"type=ALL&limit=2&marker={image_id(51)}",)]
    assert [len(client.get(f"{IMAGES}?{each}").json()["images"]) for each in ("limit=3", "limit=0", "")] == [3, 3, 2]
    control(client, "POST", "reset")
    assert control(client, "GET", "pages") == {"pages": {"size": None}}


# --- failures ---


def test_planned_failures_occur_one_after_another(client: TestClient) -> None:
    fail(client, operation="listImages", status=503, times=2, retry_after=7)
    fail(client, operation="listImages", status=404)
    planned = [each["times"] for each in control(client, "GET", "failures")["failures"]]
    responses = [client.get(IMAGES) for _ in range(3)]
    assert planned == [2, 1]
    assert [*map(fault, responses)] == [(503, "serviceUnavailable")] * 2 + [(404, "itemNotFound")]
    assert [each.headers.get("retry-after") for each in responses] == ["7", "7", None]
    assert client.get(IMAGES).status_code == 200


def test_planned_failure_concerns_its_operation_only_and_changes_nothing(client: TestClient) -> None:
    fail(client, operation="deleteImage", status=500)
    assert client.get(f"{IMAGES}/{image_id(50)}").status_code == 200
    assert client.delete(f"{IMAGES}/{image_id(50)}").status_code == 500
    assert client.get(f"{IMAGES}/{image_id(50)}").status_code == 200
    assert client.delete(f"{IMAGES}/{image_id(50)}").status_code == 204


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"operation": "listImage"}, "failure.operation: 'listImage' is not one of checkHealth, "),
        ({"operation": "resetDouble"}, "failure.operation: 'resetDouble' is not one of checkHealth, "),
        ({"operation": "listImages", "status": 200}, "failure.status: 200 is less than the minimum of 400"),
        ({"operation": "listImages", "times": 0}, "failure.times: 0 is less than the minimum of 1"),
        ({"operation": "listImages", "delay": 61}, "failure.delay: 61 is greater than the maximum of 60"),
        ({"operation": "listImages"}, "failure: nothing would fail; expected a status, a delay or drop"),
        ({}, 'failure: "operation" is a required property'),
    ],
    ids=str,
)
def test_invalid_failure_is_rejected(client: TestClient, fields: dict[str, Any], problem: str) -> None:
    response = client.post("/testing/failures", json={"failure": fields})
    assert response.json()["badRequest"]["message"].startswith(f"Invalid request body: {problem}")


@pytest.mark.parametrize(
    ("prefer", "expected", "headers"),
    [
        ("status=503", (503, "serviceUnavailable"), {"retry-after": "1"}),
        ("status=413", (413, "overLimit"), {"retry-after": "1"}),
        ("status=429", (429, "overLimit"), {"retry-after": "1"}),
        ("status=401", (401, "unauthorized"), {"www-authenticate": 'X-Auth-Token realm="compute-images"'}),
        ("status=405", (405, "badMethod"), {"allow": "GET, HEAD, OPTIONS"}),
        ("status=409", (409, "conflictingRequest"), {}),
        ("status=418", (418, "computeFault"), {}),
        ("status=4.04e2", (404, "itemNotFound"), {"preference-applied": "status=404"}),
        ("delay=0.001 , STATUS = 500", (500, "computeFault"), {"preference-applied": "delay=0.001, status=500"}),
        ("drop=false, status=500", (500, "computeFault"), {"preference-applied": "status=500"}),
        ('status="500"; x=y, status=400', (500, "computeFault"), {"preference-applied": "status=500"}),
    ],
)
def test_prefer_makes_one_response_a_fault(
    client: TestClient, prefer: str, expected: tuple[int, str], headers: dict[str, str]
) -> None:
    response = client.get(IMAGES, headers={"Prefer": prefer})
    assert fault(response) == expected
    applied = {"preference-applied": prefer}
    assert (applied | headers).items() <= response.headers.items()
    assert client.get(IMAGES).status_code == 200


@pytest.mark.parametrize("prefer", ["", "return=minimal, respond-async", "drop=false, delay=0"])
def test_other_preferences_change_nothing(client: TestClient, prefer: str) -> None:
    assert client.get(IMAGES, headers={"Prefer": prefer}).json() == client.get(IMAGES).json()


@pytest.mark.parametrize(
    ("prefer", "problem"),
    [
        ("status=200", "status: 200 is not a whole number from 400 to 599"),
        ("status", "status: true is not a whole number from 400 to 599"),
        ("status=x", 'status: "x" is not a whole number from 400 to 599'),
        ("delay=-1", "delay: -1 is not a number of seconds from 0 to 60"),
        ("delay=NaN", 'delay: "NaN" is not a number of seconds from 0 to 60'),
        ("drop=5", "drop: 5 is not of type boolean"),
    ],
)
def test_invalid_preference_is_rejected(client: TestClient, prefer: str, problem: str) -> None:
    response = client.get(IMAGES, headers={"Prefer": f"return=minimal, {prefer}"})
    assert response.json() == {"badRequest": {"code": 400, "message": f"Parameter 'Prefer': {problem}."}}
