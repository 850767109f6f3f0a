"""Changes of a copy, which are made at the image service first, and new images, which are found there."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from math import inf
from pathlib import Path
from typing import Any

import orjson
import pytest
from httpx2 import Response
from keystoneauth1.session import Session
from starlette.testclient import TestClient

from app.auth import keystone
from app.auth.base import Caller, TokenInfo
from app.catalog import replica as upstream
from app.catalog.models import StoredImage, Upstream, UpstreamSnapshot
from app.catalog.replica import SYNC_STATUS_REASON, apply_snapshot
from app.catalog.sqlite.database import transaction
from app.catalog.tokens import add_token
from app.catalog.transfer import export_images
from app.mirror import client as glance
from app.mirror import read_through as finding
from app.mirror import write_through as through
from app.mirror.mapping import is_field, to_catalog_image
from app.mirror.sync import Mirror
from app.timestamps import now
from tests.conftest import Serve
from tests.integration.server.service import until
from tests.support.fake_glance import NOTHING, SILENCE, Said, Stand, glance_at, glance_image, standing
from tests.support.images import catalog_of, image, image_id

ME, YOU = "1" * 32, "2" * 32
CALLERS = {  # by their tokens
    "me": Caller(ME, is_admin=False),
    "you": Caller(YOU, is_admin=False),
    "administrator": Caller("3" * 32, is_admin=True),
}
ONE = f"/v2/images/{image_id(1)}"
LATER = "2021-01-01T00:00:00Z"
MINE = glance_image(1, owner=ME, visibility="private", a="1", b="2")
YOURS = glance_image(2, owner=YOU)
NOBODYS = glance_image(3, owner=None)
MINE_TOO = glance_image(4, owner=ME)

Change = tuple[str, str, Any]
CHANGES: dict[str, Change] = {
    "delete": ("DELETE", "", None),
    "update": ("POST", "/metadata", {"metadata": {"a": "x"}}),
    "replace": ("PUT", "/metadata", {"metadata": {"a": "x"}}),
    "set": ("PUT", "/metadata/a", {"meta": {"a": "x"}}),
    "unset": ("DELETE", "/metadata/a", None),
}
each_change = pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)


class Tokens:
    """Stands where Keystone is expected: it knows some tokens."""

    url = "http://keystone.test/v3"

    def validate(self, token: str) -> TokenInfo | None:
        """Tell who gives a token."""
        return TokenInfo(CALLERS[token], inf) if token in CALLERS else None


class Cloud:
    """Stands where the cloud of the environment is expected."""

    def get_session(self) -> Session:
        """Give a session that has no credentials to send in the place of a caller's token."""
        return Session()


@pytest.fixture(autouse=True)
def _cloud(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keystone, "KeystoneClient", Tokens)
    monkeypatch.setattr(glance, "load_cloud_config", Cloud)
    monkeypatch.setattr(through, "_REQUEST_TIMEOUT", 0.5)
    monkeypatch.setattr(finding, "_FETCH_TIMEOUT", 0.5)


@pytest.fixture
def stand() -> Iterator[Stand]:
    with standing() as stand:
        yield stand


@pytest.fixture
def catalog(tmp_path: Path, stand: Stand) -> Path:
    """Make a copy of what is there."""
    path = tmp_path / "catalog.db"
    stand.put(MINE, YOURS, NOBODYS, MINE_TOO)
    images = [to_catalog_image(each) for each in stand.images.values()]
    apply_snapshot(path, UpstreamSnapshot(Upstream(stand.url, is_admin=True), images), tombstone_days=30)
    return path


@pytest.fixture
def client(serve: Serve, catalog: Path) -> TestClient:
    return serve(catalog, auth="keystone", stale_after=0)


def ask(  # noqa: PLR0913 each of them matters
    client: TestClient, method: str, path: str = "", body: Any = None, *, caller: str = "me", number: int = 1
) -> Response:
    url = f"/v2/{CALLERS[caller].tenant}/images/{image_id(number)}{path}"
    return client.request(method, url, json=body, headers={"X-Auth-Token": caller})


def stored(catalog: Path) -> dict[int, StoredImage]:
    return {int(record.id[-12:]): record for record in export_images(catalog, deleted=True)}


def metadata(catalog: Path, number: int = 1) -> Any:
    return orjson.loads(stored(catalog)[number].metadata)


def patches(stand: Stand) -> list[Any]:
    return [orjson.loads(request.body) for request in stand.requests if request.what.startswith("PATCH")]


def copied(stand: Stand, catalog: Path) -> None:
    """Make a pass over all images."""
    Mirror(
        lambda: glance_at(stand.url, is_admin=True),
        catalog,
        tombstone_days=30,
        replaceable=[],
        watch=lambda pages, _: pages,
    ).make_pass(whole=True)


def message(answer: Response) -> tuple[int, str, str]:
    """Give the status of a fault, its name, and what it says."""
    ((name, fault),) = answer.json().items()
    assert fault["code"] == answer.status_code
    return answer.status_code, name, fault["message"]


# --- deleting ---


def test_an_image_is_deleted_there_with_the_callers_token_and_then_here(
    client: TestClient, stand: Stand, catalog: Path
) -> None:
    before = now()
    assert ask(client, "DELETE").status_code == 204
    assert [(each.what, each.token) for each in stand.requests] == [(f"DELETE {ONE}", "me")]
    assert image_id(1) not in stand.images
    tombstone = stored(catalog)[1]
    assert tombstone == to_catalog_image(MINE)._replace(status="DELETED", progress=0, updated=tombstone.updated)
    assert before <= tombstone.updated <= now()
    assert ask(client, "GET").status_code == 404


def test_a_tombstone_is_kept_as_long_as_others(serve: Serve, stand: Stand, catalog: Path) -> None:
    assert ask(serve(catalog, auth="keystone", tombstone_days=0), "DELETE").status_code == 204
    assert 1 not in stored(catalog)


# --- metadata ---


def test_items_are_added_and_changed(client: TestClient, stand: Stand, catalog: Path) -> None:
    answer = ask(client, "POST", "/metadata", {"metadata": {"b": "3", "c": "4"}})
    assert (answer.status_code, answer.json()) == (200, {"metadata": {"a": "1", "b": "3", "c": "4"}})
    assert [(each.what, each.token) for each in stand.requests] == [(f"GET {ONE}", "me"), (f"PATCH {ONE}", "me")]
    assert patches(stand) == [
        [{"op": "replace", "path": "/b", "value": "3"}, {"op": "add", "path": "/c", "value": "4"}]
    ]
    assert metadata(catalog) == {"a": "1", "b": "3", "c": "4"}


def test_all_items_are_replaced(client: TestClient, stand: Stand, catalog: Path) -> None:
    answer = ask(client, "PUT", "/metadata", {"metadata": {"b": "3", "c": "4"}})
    assert (answer.status_code, answer.json()) == (200, {"metadata": {"b": "3", "c": "4"}})
    assert patches(stand) == [
        [
            {"op": "remove", "path": "/a"},
            {"op": "replace", "path": "/b", "value": "3"},
            {"op": "add", "path": "/c", "value": "4"},
        ]
    ]
    assert metadata(catalog) == {"b": "3", "c": "4"}


def test_an_item_is_set(client: TestClient, stand: Stand, catalog: Path) -> None:
    answer = ask(client, "PUT", "/metadata/c", {"meta": {"c": "3"}})
    assert (answer.status_code, answer.json()) == (200, {"meta": {"c": "3"}})
    assert patches(stand) == [[{"op": "add", "path": "/c", "value": "3"}]]
    assert metadata(catalog) == {"a": "1", "b": "2", "c": "3"}


def test_an_item_is_taken_away(client: TestClient, stand: Stand, catalog: Path) -> None:
    assert ask(client, "DELETE", "/metadata/a").status_code == 204
    assert patches(stand) == [[{"op": "remove", "path": "/a"}]]
    assert metadata(catalog) == {"b": "2"}


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
def test_what_changes_nothing_asks_for_no_change(client: TestClient, stand: Stand, change: Change) -> None:
    assert ask(client, *change).status_code == 200
    assert stand.asked == [f"GET {ONE}"]


def test_what_the_image_has_there_is_changed_and_not_what_the_copy_has(
    client: TestClient, stand: Stand, catalog: Path
) -> None:
    stand.put(glance_image(1, owner=ME, name="new", visibility="public", updated_at=LATER, a="0", d="5"))
    answer = ask(client, "POST", "/metadata", {"metadata": {"a": "1"}})
    assert answer.json() == {"metadata": {"a": "1", "d": "5"}}
    assert patches(stand) == [[{"op": "replace", "path": "/a", "value": "1"}]]
    expected = to_catalog_image(stand.images[image_id(1)])
    assert stored(catalog)[1] == expected._replace(visibility="private")  # who sees it is for a pass to find out


def test_what_the_image_is_afterwards_is_told_and_copied(client: TestClient, stand: Stand, catalog: Path) -> None:
    stand.says[f"PATCH {ONE}"] = Said(200, MINE | {"a": "one", "updated_at": LATER})
    answer = ask(client, "POST", "/metadata", {"metadata": {"a": "1", "c": "3"}})
    assert answer.json() == {"metadata": {"a": "one", "b": "2"}}
    assert (metadata(catalog), stored(catalog)[1].updated) == ({"a": "one", "b": "2"}, LATER)


def test_properties_that_are_no_text_are_compared_as_text(client: TestClient, stand: Stand) -> None:
    stand.put(glance_image(1, owner=ME, a=True, b=5, c=None, d=["nested"]))
    items = {"a": "True", "b": "5", "e": "x"}
    assert ask(client, "PUT", "/metadata", {"metadata": items}).status_code == 200
    assert patches(stand) == [[{"op": "remove", "path": "/c"}, {"op": "add", "path": "/e", "value": "x"}]]


def test_keys_are_escaped_in_pointers(client: TestClient, stand: Stand) -> None:
    keys = {"a/b": "~1a~1b", "~": "~0", "~1": "~01", "/": "~1", "a b:c.d-e": "a b:c.d-e"}
    stand.put(glance_image(1, owner=ME) | dict.fromkeys(keys, "x"))
    assert ask(client, "PUT", "/metadata", {"metadata": {}}).status_code == 200
    assert patches(stand) == [
        [{"op": "remove", "path": path} for path in ("/a~1b", "/~0", "/~01", "/~1", "/a b:c.d-e")]
    ]
    assert stand.images[image_id(1)] == glance_image(1, owner=ME)


OF_ITS_OWN = "is what the image service itself says of an image, and no item of its metadata"
FIELDS = sorted({*glance_image(), "direct_url", "locations", "stores"})


@pytest.mark.parametrize("key", FIELDS)
def test_what_the_image_service_itself_says_is_no_item(
    client: TestClient, stand: Stand, catalog: Path, key: str
) -> None:
    assert is_field(key)
    before = stored(catalog)
    for change in (
        ("POST", "/metadata", {"metadata": {"c": "3", key: "x"}}),
        ("PUT", "/metadata", {"metadata": {"c": "3", key: "x"}}),
        ("PUT", f"/metadata/{key}", {"meta": {key: "x"}}),
    ):
        assert message(ask(client, *change)) == (
            400,
            "badRequest",
            f"The body is wrong: '{key}' {OF_ITS_OWN}.",
        )
    assert ask(client, "DELETE", f"/metadata/{key}").status_code == 404
    assert (patches(stand), stored(catalog)) == ([], before)


def test_an_item_that_is_not_there_is_not_taken_away(client: TestClient, stand: Stand, catalog: Path) -> None:
    stand.put(glance_image(1, owner=ME))
    assert message(ask(client, "DELETE", "/metadata/a")) == (
        404,
        "itemNotFound",
        "The image's metadata have no item 'a'.",
    )
    assert (stand.asked, metadata(catalog)) == ([f"GET {ONE}"], {"a": "1", "b": "2"})


def test_an_image_gets_no_more_items_than_it_may_have(client: TestClient, stand: Stand) -> None:
    stand.put(glance_image(1, owner=ME) | {str(number): "x" for number in range(128)})
    answer = ask(client, "POST", "/metadata", {"metadata": {"a": "1"}})
    assert message(answer) == (403, "forbidden", "The image would have 129 items of metadata; it may have 128.")
    assert ask(client, "POST", "/metadata", {"metadata": {"5": "y"}}).status_code == 200
    assert patches(stand) == [[{"op": "replace", "path": "/5", "value": "y"}]]


def fail(stand: Stand, catalog: Path) -> Any:
    """Have an image fail to be copied, and give the metadata of its copy, which say so."""
    stand.put(MINE | {"name": 5})
    copied(stand, catalog)
    stand.put(MINE)
    return metadata(catalog)


def test_what_the_copy_says_of_itself_is_not_sent_to_the_image_service(
    client: TestClient, stand: Stand, catalog: Path
) -> None:
    told = fail(stand, catalog)
    assert told.keys() == {"a", "b", SYNC_STATUS_REASON}
    for method in ("PUT", "POST"):
        answer = ask(client, method, "/metadata", {"metadata": told | {"c": method}})
        assert answer.json() == {"metadata": {"a": "1", "b": "2", "c": method}}
        fail(stand, catalog)
    assert patches(stand) == [[{"op": "add", "path": "/c", "value": method}] for method in ("PUT", "POST")]


def test_a_change_copies_a_failed_image_again(client: TestClient, stand: Stand, catalog: Path) -> None:
    told = fail(stand, catalog)
    before = now()
    assert ask(client, "PUT", "/metadata", {"metadata": told}).json() == {"metadata": {"a": "1", "b": "2"}}
    assert patches(stand) == []
    assert metadata(catalog) == {"a": "1", "b": "2"}
    assert stored(catalog)[1].updated >= before


def test_another_reason_than_the_copys_is_data(client: TestClient, stand: Stand, catalog: Path) -> None:
    told = fail(stand, catalog)
    answer = ask(client, "PUT", "/metadata", {"metadata": told | {SYNC_STATUS_REASON: "mine"}})
    assert answer.json() == {"metadata": {"a": "1", "b": "2", SYNC_STATUS_REASON: "mine"}}
    assert metadata(catalog) == {"a": "1", "b": "2", SYNC_STATUS_REASON: "mine"}


def test_a_reason_that_the_image_service_has_stays_there(client: TestClient, stand: Stand, catalog: Path) -> None:
    stand.put(MINE | {SYNC_STATUS_REASON: "theirs"})
    copied(stand, catalog)
    answer = ask(client, "PUT", "/metadata", {"metadata": metadata(catalog) | {"c": "3"}})
    assert answer.json() == {"metadata": {"a": "1", "b": "2", "c": "3", SYNC_STATUS_REASON: "theirs"}}
    assert patches(stand) == [[{"op": "add", "path": "/c", "value": "3"}]]


def test_who_asks_for_what_changed_is_told_of_what_was_changed_here(client: TestClient, catalog: Path) -> None:
    before = now()
    for change, status in ((CHANGES["set"], "ACTIVE"), (CHANGES["delete"], "DELETED")):
        ask(client, *change)
        url = f"/v2/{ME}/images/detail?changes-since={before}&status={status}"
        answer = client.get(url, headers={"X-Auth-Token": "me"})
        assert image_id(1) in [each["id"] for each in answer.json()["images"]]


# --- who may ---


@each_change
def test_who_may_not_change_an_image_here_is_refused_without_asking(
    client: TestClient, stand: Stand, change: Change
) -> None:
    answer = ask(client, *change, number=2)
    assert message(answer) == (403, "forbidden", f"Image '{image_id(2)}' does not belong to the project.")
    assert ask(client, *change, caller="you", number=1).status_code == 404
    assert stand.asked == []


@each_change
def test_an_administrator_changes_what_nobody_owns(client: TestClient, stand: Stand, change: Change) -> None:
    method, path, body = change
    stand.put(NOBODYS | {"a": "1"})
    assert ask(client, method, path, body, caller="administrator", number=3).status_code in {200, 204}
    assert {request.token for request in stand.requests} == {"administrator"}


def test_what_is_no_copy_is_changed_as_ever_and_nobody_is_asked(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(glance, "load_cloud_config", None)
    path = catalog_of(tmp_path, image(1, owner=ME, metadata={"a": "1"}))
    client = serve(path, auth="keystone")
    assert ask(client, *CHANGES["update"]).json() == {"metadata": {"a": "x"}}
    assert ask(client, "GET", number=9).status_code == 404
    assert ask(client, "DELETE").status_code == 204
    assert stored(path)[1].status == "DELETED"


@each_change
@pytest.mark.parametrize("auth", ["none", "token"])
def test_where_tokens_are_not_keystones_a_copy_is_for_reading_alone(
    serve: Serve, stand: Stand, catalog: Path, auth: str, change: Change
) -> None:
    client, method, path, body = serve(catalog, auth=auth), *change
    token = add_token(catalog, ME, is_admin=True, expires=None)
    before = stored(catalog)
    url, headers = f"/v2/{ME}/images/{image_id(1)}{path}", {"X-Auth-Token": token}
    assert message(client.request(method, url, json=body, headers=headers)) == (
        403,
        "forbidden",
        f"Image '{image_id(1)}' is a copy of the one at {stand.url}: change it there.",
    )
    assert client.get(url.replace(image_id(1), image_id(9)), headers=headers).status_code == 404
    assert (stored(catalog), stand.asked) == (before, [])


# --- what the image service says of it ---

FORBIDS = f"The image service does not let you change image '{image_id(1)}' so."
AWAY = "The image service cannot be reached at the moment; try again later."
ANSWERS: dict[str, tuple[Said, tuple[int, str, str]]] = {
    "400": (Said(400), (400, "badRequest", "The body is wrong: the image service does not take it.")),
    "401": (
        Said(401),
        (401, "unauthorized", "The image service does not know the token, or no longer."),
    ),
    "403": (Said(403), (403, "forbidden", FORBIDS)),
    "409": (
        Said(409),
        (409, "conflictingRequest", f"The image service cannot change image '{image_id(1)}' now: it is in use."),
    ),
    "413": (Said(413), (403, "forbidden", FORBIDS)),
    **{
        name: (said, (503, "serviceUnavailable", AWAY))
        for name, said in {
            "302": Said(302, b"", (("Location", f"http://127.0.0.1:1{ONE}"), ("Content-Length", "0"))),
            "302 to nowhere": Said(302),
            "410": Said(410),
            "429": Said(429),
            "500": Said(500),
            "503": Said(503),
            "silence": SILENCE,
            "the end of the connection": NOTHING,
            "HTML": Said(200, b"<html>"),
        }.items()
    },
}
each_answer = pytest.mark.parametrize(("said", "fault"), ANSWERS.values(), ids=ANSWERS)

Fault = tuple[int, str, str]


each_request = pytest.mark.parametrize(
    ("change", "asked"),
    [
        (CHANGES["delete"], f"DELETE {ONE}"),
        (CHANGES["update"], f"GET {ONE}"),
        (CHANGES["update"], f"PATCH {ONE}"),
        (CHANGES["unset"], f"PATCH {ONE}"),
    ],
    ids=["delete", "get", "update", "unset"],
)


@each_answer
@each_request
def test_what_the_image_service_refuses_is_refused(  # noqa: PLR0913, PLR0917 each of them matters
    client: TestClient,
    stand: Stand,
    catalog: Path,
    change: Change,
    asked: str,
    said: Said,
    fault: Fault,
) -> None:
    before = stored(catalog)
    stand.says[asked] = said
    answer = ask(client, *change)
    assert message(answer) == fault
    challenge = 'Keystone uri="http://keystone.test/v3"' if fault[0] == 401 else None
    assert answer.headers.get("WWW-Authenticate") == challenge
    assert (stored(catalog), stand.asked[-1]) == (before, asked)


NO_IMAGE = (404, "itemNotFound", "Image not found.")


@each_request
def test_an_image_that_is_not_there_is_a_tombstone_here(
    client: TestClient, stand: Stand, catalog: Path, change: Change, asked: str
) -> None:
    before = stored(catalog)
    stand.says[asked] = Said(404)
    assert message(ask(client, *change)) == NO_IMAGE
    after = stored(catalog)
    ended = after[1].updated
    assert after == before | {1: before[1]._replace(status="DELETED", progress=0, updated=ended)}
    stand.requests.clear()
    assert message(ask(client, *change)) == NO_IMAGE
    assert stand.asked == []


def test_that_an_image_is_not_there_is_said_though_others_write(
    client: TestClient, stand: Stand, catalog: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstream, "WRITER_TIMEOUT", 0.1)
    before = stored(catalog)
    stand.drop(1)
    with transaction(catalog):
        for change in CHANGES.values():
            assert message(ask(client, *change)) == NO_IMAGE
    assert stored(catalog) == before


def test_an_image_that_is_there_does_not_end_for_an_item_that_is_not(
    client: TestClient, stand: Stand, catalog: Path
) -> None:
    assert ask(client, "DELETE", "/metadata/z").status_code == 404
    assert stored(catalog)[1].status == "ACTIVE"


MALFORMED: dict[str, Any] = {
    "nothing": b"",
    "null": None,
    "a list": [],
    "another document": {"image": MINE},
    "a field that is wrong": MINE | {"min_disk": "x"},
    "a time that is none": MINE | {"updated_at": "now"},
}


@pytest.mark.parametrize("asked", [f"GET {ONE}", f"PATCH {ONE}"], ids=["get", "patch"])
@pytest.mark.parametrize("document", MALFORMED.values(), ids=MALFORMED)
def test_an_image_that_cannot_be_copied_is_none_that_can_be_changed(
    client: TestClient, stand: Stand, catalog: Path, asked: str, document: Any
) -> None:
    before = stored(catalog)
    stand.says[asked] = Said(200, document)
    assert message(ask(client, *CHANGES["update"])) == (503, "serviceUnavailable", AWAY)
    assert (stored(catalog), stand.asked[-1]) == (before, asked)


@each_change
def test_why_the_image_service_cannot_be_asked_is_for_the_log(
    client: TestClient, stand: Stand, caplog: pytest.LogCaptureFixture, change: Change
) -> None:
    stand.says = {f"{method} {ONE}": NOTHING for method in ("GET", "DELETE")}
    ask(client, *change)
    assert "the image service cannot be asked: A failure of the connection occurred: Unable to establish" in caplog.text


def test_an_image_service_that_is_not_there_is_as_one_that_says_nothing(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "catalog.db"
    apply_snapshot(
        path,
        UpstreamSnapshot(Upstream("http://127.0.0.1:1", is_admin=True), [to_catalog_image(MINE)]),
        tombstone_days=30,
    )
    client = serve(path, auth="keystone")
    for change in CHANGES.values():
        assert message(ask(client, *change)) == (503, "serviceUnavailable", AWAY)
    assert stored(path) == {1: to_catalog_image(MINE)}


def test_a_cloud_that_cannot_be_used_is_for_the_log(
    client: TestClient,
    stand: Stand,
    catalog: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def cloud() -> Cloud:
        raise glance.CloudConfigError("there is none")

    monkeypatch.setattr(glance, "load_cloud_config", cloud)
    before = stored(catalog)
    for change in CHANGES.values():
        assert message(ask(client, *change)) == (503, "serviceUnavailable", AWAY)
    assert ask(client, "GET", number=9).status_code == 404
    assert (stored(catalog), stand.asked) == (before, [])
    assert "the image service cannot be asked: The cloud cannot be used: there is none" in caplog.text
    assert f"image {image_id(9)} cannot be found at the image service: The cloud cannot be used" in caplog.text


# --- a catalog that does not take at once what was changed ---


@each_change
def test_a_change_is_made_though_others_write_to_the_catalog(  # noqa: PLR0913, PLR0917 likewise
    client: TestClient,
    stand: Stand,
    catalog: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    change: Change,
) -> None:
    monkeypatch.setattr(upstream, "WRITER_TIMEOUT", 0.1)
    before = stored(catalog)
    with transaction(catalog):
        assert ask(client, *change).status_code in {200, 204}
    assert stored(catalog) == before
    assert stand.images.get(image_id(1)) != MINE
    assert f"image {image_id(1)} was changed at the image service, but not yet in the catalog" in caplog.text
    copied(stand, catalog)
    after = stored(catalog)[1]
    if image_id(1) in stand.images:
        assert after == to_catalog_image(stand.images[image_id(1)])
    else:
        assert after.status == "DELETED"


def test_changes_wait_for_the_image_service_at_the_same_time(client: TestClient, stand: Stand, catalog: Path) -> None:
    both = threading.Barrier(2, timeout=5)
    for number in (1, 4):
        stand.meanwhile[f"DELETE /v2/images/{image_id(number)}"] = both.wait
    with ThreadPoolExecutor(2) as threads:
        answers = [threads.submit(ask, client, "DELETE", number=number) for number in (1, 4)]
    assert [answer.result().status_code for answer in answers] == [204, 204]
    assert [stored(catalog)[number].status for number in (1, 4)] == ["DELETED"] * 2


# --- images that the catalog lacks ---

NEW = glance_image(9, owner=ME, visibility="private", a="1")
ASKED = f"GET /v2/images/{image_id(9)}"
READS: dict[str, Change] = {
    "show": ("GET", "", None),
    "head": ("HEAD", "", None),
    "metadata": ("GET", "/metadata", None),
    "item": ("GET", "/metadata/a", None),
}


@pytest.mark.parametrize("change", (READS | CHANGES).values(), ids=READS | CHANGES)
def test_an_image_that_the_catalog_lacks_is_asked_for_with_the_callers_token(
    client: TestClient, stand: Stand, catalog: Path, change: Change
) -> None:
    stand.put(NEW)
    assert ask(client, *change, number=9).status_code in {200, 204}
    assert (stand.requests[0].what, stand.requests[0].token) == (ASKED, "me")
    assert 9 in stored(catalog)


def test_it_is_found_under_its_bookmark_too(client: TestClient, stand: Stand) -> None:
    stand.put(NEW)
    assert client.get(f"/{ME}/images/{image_id(9)}", headers={"X-Auth-Token": "me"}).status_code == 200


def test_it_is_asked_for_once_and_is_in_lists_then(client: TestClient, stand: Stand, catalog: Path) -> None:
    stand.put(NEW)
    answers = [ask(client, "GET", number=9) for _ in range(2)]
    assert [answer.json()["image"]["metadata"] for answer in answers] == [{"a": "1"}] * 2
    assert stand.asked == [ASKED]
    assert stored(catalog)[9] == to_catalog_image(NEW)
    listed = client.get(f"/v2/{ME}/images?limit=1", headers={"X-Auth-Token": "me"}).json()
    assert [each["id"] for each in listed["images"]] == [image_id(1)]  # the newest, of which it came last
    assert client.get(f"/v2/{ME}/images?changes-since={now()}", headers={"X-Auth-Token": "me"}).json()["images"]


def test_it_is_changed_and_deleted_at_once(client: TestClient, stand: Stand, catalog: Path) -> None:
    stand.put(NEW)
    assert ask(client, *CHANGES["update"], number=9).json() == {"metadata": {"a": "x"}}
    assert ask(client, *CHANGES["delete"], number=9).status_code == 204
    assert stand.asked == [ASKED, ASKED, f"PATCH /v2/images/{image_id(9)}", f"DELETE /v2/images/{image_id(9)}"]
    assert stored(catalog)[9].status == "DELETED"


def test_a_shared_one_is_its_owners_alone_until_a_pass_finds_the_members(
    client: TestClient, stand: Stand, catalog: Path
) -> None:
    stand.put(NEW | {"visibility": "shared"})
    stand.share(9, **{YOU: "accepted"})
    assert ask(client, "GET", caller="you", number=9).status_code == 404
    assert ask(client, "GET", number=9).status_code == 200
    assert ask(client, "GET", caller="you", number=9).status_code == 404
    assert ask(client, *CHANGES["update"], number=9).status_code == 200
    assert ask(client, "GET", caller="you", number=9).status_code == 404
    copied(stand, catalog)
    assert [ask(client, "GET", caller=caller, number=9).status_code for caller in ("me", "you")] == [200, 200]


@pytest.mark.parametrize(
    ("visibility", "status"), [("public", 200), ("community", 200), ("shared", 404), ("private", 404)]
)
def test_whom_it_is_shown_to_is_judged_here(client: TestClient, stand: Stand, visibility: str, status: int) -> None:
    stand.put(NEW | {"visibility": visibility})
    assert ask(client, "GET", caller="you", number=9).status_code == status
    assert ask(client, "GET", number=9).status_code == 200
    assert stand.asked == [ASKED]


def test_what_is_learned_is_not_dated_later_than_it_is(client: TestClient, stand: Stand, catalog: Path) -> None:
    stand.put(NEW)
    ask(client, "GET", number=9)
    assert stored(catalog)[9].updated == NEW["updated_at"]


NOT_FOUND: dict[str, Said] = {
    "400": Said(400),
    "401": Said(401),
    "403": Said(403),
    "404": Said(404),
    "302": Said(302, b"", (("Location", f"http://127.0.0.1:1{ONE}"), ("Content-Length", "0"))),
    "500": Said(500),
    "silence": SILENCE,
    "the end of the connection": NOTHING,
    "HTML": Said(200, b"<html>"),
    "a hidden one": Said(200, NEW | {"os_hidden": True}),
    "one that is being deleted": Said(200, NEW | {"status": "pending_delete"}),
    "one that was deleted": Said(200, NEW | {"status": "deleted"}),
    **{name: Said(200, document) for name, document in MALFORMED.items()},
}


@pytest.mark.parametrize("said", NOT_FOUND.values(), ids=NOT_FOUND)
def test_what_cannot_be_found_there_is_not_found_here(
    client: TestClient, stand: Stand, catalog: Path, said: Said
) -> None:
    before = stored(catalog)
    stand.says[ASKED] = said
    for change in (READS["show"], CHANGES["update"]):
        assert message(ask(client, *change, number=9)) == NO_IMAGE
    assert (stand.asked, stored(catalog)) == ([ASKED, ASKED], before)


def test_a_tombstone_is_not_asked_for(client: TestClient, stand: Stand) -> None:
    ask(client, "DELETE")
    stand.put(MINE)
    stand.requests.clear()
    assert ask(client, "GET").status_code == 404
    assert stand.asked == []


def test_an_image_that_is_for_others_is_not_asked_for(client: TestClient, stand: Stand) -> None:
    assert ask(client, "GET", caller="you").status_code == 404
    assert stand.asked == []


@pytest.mark.parametrize(
    "path",
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
def test_nothing_else_is_asked_for(client: TestClient, stand: Stand, path: str) -> None:
    client.get(f"/v2/{ME}/{path}", headers={"X-Auth-Token": "me"})
    assert stand.asked == []


@pytest.mark.parametrize("caller", ["you", "x", ""])
def test_nobody_is_asked_for_who_may_not_ask_here(client: TestClient, stand: Stand, caller: str) -> None:
    stand.put(NEW)
    answer = client.get(f"/v2/{ME}/images/{image_id(9)}", headers={"X-Auth-Token": caller})
    assert answer.status_code == (403 if caller == "you" else 401)
    assert stand.asked == []


def test_others_are_answered_while_an_image_is_looked_for(
    client: TestClient, stand: Stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finding, "_FETCH_TIMEOUT", 5)
    stand.put(NEW)
    asked, answered = threading.Event(), threading.Event()
    in_time: list[bool] = []

    def wait() -> None:
        asked.set()
        in_time.append(answered.wait(3))

    stand.meanwhile[ASKED] = wait
    with ThreadPoolExecutor(1) as threads:
        found = threads.submit(ask, client, "GET", number=9)
        assert asked.wait(5)
        assert ask(client, "GET").status_code == 200
        answered.set()
    assert (found.result().status_code, in_time) == (200, [True])


def test_an_image_that_is_not_found_in_time_is_not_found_yet(
    client: TestClient, stand: Stand, catalog: Path, caplog: pytest.LogCaptureFixture
) -> None:
    stand.put(NEW)
    with transaction(catalog):  # for which whoever looks waits
        assert message(ask(client, "GET", number=9)) == NO_IMAGE
    assert f"image {image_id(9)} was not found at the image service in time" in caplog.text
    until(lambda: 9 in stored(catalog))
    assert ask(client, "GET", number=9).status_code == 200
    assert stand.asked == [ASKED]


def test_nothing_is_asked_for_where_the_copy_is_not_an_administrators(
    serve: Serve, stand: Stand, tmp_path: Path
) -> None:
    path = tmp_path / "own.db"
    apply_snapshot(
        path, UpstreamSnapshot(Upstream(stand.url, is_admin=False), [to_catalog_image(MINE)]), tombstone_days=30
    )
    client = serve(path, auth="keystone")
    stand.put(NEW)
    assert {ask(client, *change, number=9).status_code for change in (READS | CHANGES).values()} == {404}
    assert stand.asked == []


def test_an_image_that_is_found_while_others_write_is_not_found_yet(
    client: TestClient, stand: Stand, catalog: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstream, "WRITER_TIMEOUT", 0.1)
    stand.put(NEW)
    with transaction(catalog):
        assert ask(client, "GET", number=9).status_code == 404
    assert ask(client, "GET", number=9).status_code == 200


# --- how the image service is reached ---


def test_the_cloud_is_read_once_and_not_before_a_copy_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Cloud] = []

    def cloud() -> Cloud:
        read.append(Cloud())
        return read[-1]

    monkeypatch.setattr(glance, "load_cloud_config", cloud)
    way = glance.client_factory()
    assert read == []
    first, second = way("http://a.test", "me", 5), way("http://b.test", "you", 6)
    assert (len(read), first.url, second.url) == (1, "http://a.test", "http://b.test")
