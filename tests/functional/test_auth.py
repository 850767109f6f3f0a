"""Who may do what, where callers are asked for a token."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from app import factory
from app.auth.base import Caller
from app.auth.catalog_tokens import CatalogTokenAuthenticator
from app.catalog.sqlite.reader import CatalogReader
from app.catalog.tokens import add_token, list_tokens, revoke_tokens
from app.middleware.response_cache import ResponseCache
from tests.conftest import Serve
from tests.support.images import catalog_of, image, image_id

ME = "11111111111111111111111111111111"
YOU = "22222222222222222222222222222222"
Way = tuple[str, str, Any]

CHANGES: dict[str, Way] = {
    "delete": ("DELETE", "", None),
    "update": ("POST", "/metadata", {"metadata": {"a": "b"}}),
    "replace": ("PUT", "/metadata", {"metadata": {"a": "b"}}),
    "set": ("PUT", "/metadata/a", {"meta": {"a": "b"}}),
    "unset": ("DELETE", "/metadata/a", None),
}
READS: dict[str, Way] = {
    "show": ("GET", "", None),
    "metadata": ("GET", "/metadata", None),
    "item": ("GET", "/metadata/a", None),
}
SECONDS = 1_800_000_000.0

each_change = pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
each_way = pytest.mark.parametrize("way", (READS | CHANGES).values(), ids=READS | CHANGES)


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    return catalog_of(
        tmp_path,
        image(1, owner=ME, visibility="private", metadata={"a": "1"}),
        image(2, owner=YOU, visibility="private", metadata={"a": "2"}),
        image(3, metadata={"a": "3"}),
        image(4, owner=YOU, metadata={"a": "4"}),
        image(5, owner=YOU, visibility="shared", members=[ME], metadata={"a": "5"}),
        image(6, owner=YOU, visibility="community", metadata={"a": "6"}),
    )


@pytest.fixture
def token(catalog: Path) -> Callable[..., str]:
    """Give a function that makes a token in the catalog."""

    def make(tenant: str = ME, *, is_admin: bool = False, expires: str | None = None) -> str:
        return add_token(catalog, tenant, is_admin=is_admin, expires=expires)

    return make


Make = Callable[..., str]


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> list[ResponseCache]:
    """Give a list that gets what keeps the answers of the service."""
    built: list[ResponseCache] = []

    def build(*args: Any, **options: Any) -> ResponseCache:
        built.append(ResponseCache(*args, **options))
        return built[-1]

    monkeypatch.setattr(factory, "ResponseCache", build)
    return built


@pytest.fixture
def client(kept: list[ResponseCache], serve: Serve, catalog: Path) -> TestClient:
    return serve(catalog, auth="token")


def ask(client: TestClient, token: str, way: Way = READS["show"], *, tenant: str = ME, number: int = 1) -> Response:
    method, path, body = way
    url = f"/v2/{tenant}/images/{image_id(number)}{path}"
    return client.request(method, url, json=body, headers={"X-Auth-Token": token})


def listed(client: TestClient, token: str, tenant: str = ME) -> list[int]:
    answer = client.get(f"/v2/{tenant}/images", headers={"X-Auth-Token": token})
    return [int(each["id"][-1]) for each in answer.json()["images"]]


# --- who is calling ---


def refused(client: TestClient, headers: dict[str, str]) -> str:
    answer = client.get(f"/v2/{ME}/images", headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == 'X-Auth-Token realm="compute-images"'
    (key, fault), *_ = answer.json().items()
    assert (key, fault["code"]) == ("unauthorized", 401)
    return str(fault["message"])


@pytest.mark.parametrize("headers", [{}, {"X-Auth-Token": ""}])
def test_who_sends_no_token_is_told_so(client: TestClient, headers: dict[str, str]) -> None:
    assert refused(client, headers) == "The header X-Auth-Token is missing; it takes a token."


@pytest.mark.parametrize("text", ["x", "images_00000000_" + "0" * 64, "\xff", "x" * 10_000])
def test_a_token_that_is_none_is_refused(client: TestClient, text: str) -> None:
    headers = [(b"X-Auth-Token", text.encode("latin-1"))]
    answer = client.get(f"/v2/{ME}/images", headers=headers)
    assert answer.json() == {"unauthorized": {"code": 401, "message": "The token is not known, or no longer."}}


@pytest.mark.parametrize(
    ("headers", "token"),
    [
        ([], ""),
        ([(b"x-auth-token", b"a")], "a"),
        ([(b"x-auth-token", b"a"), (b"other", b"x"), (b"x-auth-token", b"b")], "a,b"),
        ([(b"x-auth-token", b"\xe9")], "\xe9"),
        ([(b"x-auth-token2", b"a")], ""),
    ],
    ids=str,
)
def test_a_token_is_all_that_its_header_says(catalog: Path, headers: list[tuple[bytes, bytes]], token: str) -> None:
    identity = CatalogTokenAuthenticator(CatalogReader(catalog), "X-Auth-Token")
    assert identity.token({"headers": headers}) == token


def test_two_tokens_are_none(client: TestClient, token: Make) -> None:
    good = token().encode()
    for pair in ([good, b"x"], [b"x", good], [good, good]):
        headers = [(b"X-Auth-Token", each) for each in pair]
        assert client.get(f"/v2/{ME}/images", headers=headers).status_code == 401


def test_a_revoked_token_is_refused_from_the_next_request_on(client: TestClient, catalog: Path, token: Make) -> None:
    text = token()
    assert [ask(client, text).status_code for _ in range(3)] == [200, 200, 200]
    revoke_tokens(catalog, [each.id for each in list_tokens(catalog)])
    assert ask(client, text).status_code == 401


def test_a_token_is_refused_from_the_second_on_at_which_it_ends(
    client: TestClient, token: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = token(expires="2027-01-15T08:00:00Z")  # which is that second
    monkeypatch.setattr("app.auth.base.time.time", lambda: SECONDS - 0.001)
    assert [ask(client, text).status_code for _ in range(2)] == [200, 200]
    monkeypatch.setattr("app.auth.base.time.time", lambda: SECONDS)
    assert ask(client, text).status_code == 401


def known(identity: CatalogTokenAuthenticator, texts: list[str], version: int) -> list[bool]:
    return [identity.known(text.encode(), version) is not None for text in texts]


def test_of_many_verdicts_the_last_are_remembered(catalog: Path, token: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.auth.base._MAX_CACHED_TOKENS", 2)
    texts = [token() for _ in range(4)]
    opened = CatalogReader(catalog)
    identity = CatalogTokenAuthenticator(opened, "X-Auth-Token")
    for text in texts:
        assert asyncio.run(identity.identify(text.encode())) == Caller(ME, is_admin=False)
    assert known(identity, texts, opened.version()) == [False, False, True, True]


def test_a_verdict_is_one_on_a_catalog_of_its_version(catalog: Path, token: Make) -> None:
    text = token()
    opened = CatalogReader(catalog)
    identity = CatalogTokenAuthenticator(opened, "X-Auth-Token")
    asyncio.run(identity.identify(text.encode()))
    version = opened.version()
    assert known(identity, [text], version) == [True]
    assert known(identity, [text], version + 1) == [False]


def test_a_catalog_that_cannot_be_read_opens_nothing(client: TestClient, catalog: Path, token: Make) -> None:
    text = token()
    catalog.rename(catalog.with_name("away"))
    assert ask(client, text).status_code == 503


@pytest.mark.parametrize("path", ["/", "/v2", "/v2/", "/healthcheck", "/ui/", "/openapi.json", "/openapi.yaml"])
@pytest.mark.parametrize("headers", [{}, {"X-Auth-Token": "x"}])
def test_what_is_open_to_all_asks_for_no_token(client: TestClient, path: str, headers: dict[str, str]) -> None:
    assert client.get(path, headers=headers).status_code == 200


def test_what_is_open_to_all_is_kept_for_nobody_and_not_for_each_bad_token(
    client: TestClient, kept: list[ResponseCache]
) -> None:
    for headers in ({}, {}, {"X-Auth-Token": "x"}, {"X-Auth-Token": "y"}):
        client.get("/", headers=headers)
        assert kept[0].statistics.entries == 1


def test_tokens_of_one_project_share_what_is_kept(client: TestClient, kept: list[ResponseCache], token: Make) -> None:
    texts = [token(), token()]
    for text in texts * 2:
        ask(client, text)
    assert kept[0].statistics[:3] == (2, 2, 1)  # each token is unknown once


def test_what_is_kept_for_one_is_not_for_another(client: TestClient, kept: list[ResponseCache], token: Make) -> None:
    mine, yours, admins = token(), token(YOU), token(is_admin=True)
    for text in (mine, mine, yours, admins, admins):
        ask(client, text)
    assert kept[0].statistics[:3] == (2, 2, 2)
    for text, status in ((yours, 403), (yours, 403), ("", 401), ("x", 401)):
        assert ask(client, text).status_code == status
    assert client.get(f"/v2/{ME}/images/{image_id(1)}").status_code == 401
    assert kept[0].statistics[:3] == (2, 2, 2)


def test_nobody_is_told_how_much_is_asked_for_and_kept(client: TestClient, token: Make) -> None:
    ask(client, token())
    assert client.get("/healthcheck").json() == {"status": "available"}


# --- which project ---


@each_way
def test_the_token_of_another_project_is_forbidden(client: TestClient, token: Make, way: Way) -> None:
    message = f"The token is for project {YOU}, and the path names '{ME}'."
    answer = ask(client, token(YOU), way)
    assert answer.json() == {"forbidden": {"code": 403, "message": message}}


def test_projects_are_compared_whatever_their_dashes_and_case(client: TestClient, token: Make) -> None:
    dashed = "abcdefab-cdef-abcd-efab-cdefabcdefab"
    text = token(dashed)
    for tenant in (dashed, dashed.upper(), dashed.replace("-", "")):
        assert ask(client, text, tenant=tenant, number=3).status_code == 200


def test_what_only_looks_like_the_project_after_folding_is_none(client: TestClient, token: Make) -> None:
    answer = ask(client, token("openstack"), tenant="openstac\u212a", number=3)  # whose lower case is a k
    assert answer.status_code == 400


def test_an_administrator_gets_the_view_of_the_project_that_the_path_names(client: TestClient, token: Make) -> None:
    admin = token("openstack", is_admin=True)
    for tenant in (ME, YOU):
        assert listed(client, admin, tenant) == listed(client, token(tenant), tenant)
    assert ask(client, admin, number=2).status_code == 404
    assert ask(client, admin, tenant=YOU, number=2).status_code == 200


# --- which images ---


def test_a_project_sees_what_is_public_its_own_or_shared_with_it(client: TestClient, token: Make) -> None:
    assert listed(client, token()) == [1, 3, 4, 5]
    assert listed(client, token(YOU), YOU) == [2, 3, 4, 5, 6]


@each_way
def test_the_private_image_of_another_is_as_one_that_is_not_there(client: TestClient, token: Make, way: Way) -> None:
    text = token()
    private, missing = (ask(client, text, way, number=number) for number in (2, 99))
    assert private.status_code == 404
    assert private.content == missing.content
    assert private.headers.keys() == missing.headers.keys()
    changing = {"date", "x-compute-request-id", "x-openstack-request-id"}
    assert {name: private.headers[name] for name in private.headers.keys() - changing} == {
        name: missing.headers[name] for name in missing.headers.keys() - changing
    }


@pytest.mark.parametrize("number", [4, 5, 6])
@each_change
def test_the_images_of_others_are_read_and_not_changed(
    client: TestClient, token: Make, change: Way, number: int
) -> None:
    text = token()
    before = ask(client, text, number=number).json()
    message = f"Image '{image_id(number)}' does not belong to the project."
    assert ask(client, text, change, number=number).json() == {"forbidden": {"code": 403, "message": message}}
    assert ask(client, text, number=number).json() == before


@each_change
def test_a_project_changes_its_own_images(client: TestClient, token: Make, change: Way) -> None:
    assert ask(client, token(), change).status_code in {200, 204}


@each_change
def test_what_nobody_owns_is_changed_by_administrators_alone(client: TestClient, token: Make, change: Way) -> None:
    assert ask(client, token(), change, number=3).status_code == 403
    assert ask(client, token(YOU, is_admin=True), change, number=3).status_code in {200, 204}


@each_change
def test_an_administrator_changes_the_images_of_the_project_that_the_path_names(
    client: TestClient, token: Make, change: Way
) -> None:
    admin = token("openstack", is_admin=True)
    assert ask(client, admin, change, number=4).status_code == 403
    assert ask(client, admin, change, tenant=YOU, number=4).status_code in {200, 204}
