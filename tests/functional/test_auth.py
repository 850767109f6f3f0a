"""Authentication by the catalog's own tokens, and what each caller may read and change."""

import asyncio
from collections.abc import Callable
from copy import deepcopy

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from app.auth.catalog_tokens import CatalogTokenAuthenticator
from app.catalog.engine import current_version
from app.catalog.engines import open_catalog
from app.catalog.executor import ReadExecutor
from app.catalog.tokens import add_token, list_tokens, revoke_tokens
from app.catalog.transfer import export_images
from app.context import Caller
from app.contract.document import Contract
from app.overrides import Overrides
from tests.conftest import Serve
from tests.support.catalogs import remove_catalog, sqlite_only
from tests.support.clock import FakeClock
from tests.support.counting_store import CountingStore
from tests.support.images import catalog_at, image, image_id
from tests.support.projects import OTHER_PROJECT, PROJECT
from tests.support.replicas import CHANGES, Request

READS: dict[str, Request] = {
    "show": ("GET", "", None),
    "metadata": ("GET", "/metadata", None),
    "item": ("GET", "/metadata/a", None),
}
each_change = pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
each_operation = pytest.mark.parametrize("operation", (READS | CHANGES).values(), ids=READS | CHANGES)

CreateToken = Callable[..., str]


@pytest.fixture
def catalog(location: str) -> str:
    return catalog_at(
        location,
        image(1, owner=PROJECT, visibility="private", metadata={"a": "1"}),
        image(2, owner=OTHER_PROJECT, visibility="private", metadata={"a": "2"}),
        image(3, metadata={"a": "3"}),
        image(4, owner=OTHER_PROJECT, metadata={"a": "4"}),
        image(5, owner=OTHER_PROJECT, visibility="shared", members=[PROJECT], metadata={"a": "5"}),
        image(6, owner=OTHER_PROJECT, visibility="community", metadata={"a": "6"}),
    )


@pytest.fixture
def token(catalog: str) -> CreateToken:

    def create(project_id: str = PROJECT, *, is_admin: bool = False, expires: str | None = None) -> str:
        return add_token(open_catalog(catalog), project_id, is_admin=is_admin, expires=expires)

    return create


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store() -> CountingStore:
    return CountingStore(1_000_000)


@pytest.fixture
def client(serve: Serve, catalog: str, clock: FakeClock, store: CountingStore) -> TestClient:
    return serve(catalog, auth="token", overrides=Overrides(clock=clock, responses=store))


def send(
    client: TestClient, token: str, operation: Request = READS["show"], *, project_id: str = PROJECT, number: int = 1
) -> Response:
    method, path, body = operation
    url = f"/v2/{project_id}/images/{image_id(number)}{path}"
    return client.request(method, url, json=body, headers={"X-Auth-Token": token})


def listed(client: TestClient, token: str, project_id: str = PROJECT) -> list[int]:
    response = client.get(f"/v2/{project_id}/images", headers={"X-Auth-Token": token})
    return [int(each["id"][-1]) for each in response.json()["images"]]


# --- tokens ---


@pytest.mark.parametrize("headers", [{}, {"X-Auth-Token": ""}])
def test_missing_token_is_unauthorized(client: TestClient, headers: dict[str, str]) -> None:
    response = client.get(f"/v2/{PROJECT}/images", headers=headers)
    message = "Header 'X-Auth-Token' is missing; it has to contain a token."
    assert (response.status_code, response.json()) == (401, {"unauthorized": {"code": 401, "message": message}})
    assert response.headers["www-authenticate"] == 'X-Auth-Token realm="compute-images"'


@pytest.mark.parametrize("text", ["x", "images_00000000_" + "0" * 64, "\xff", "x" * 10_000])
def test_invalid_token_is_unauthorized(client: TestClient, text: str) -> None:
    response = client.get(f"/v2/{PROJECT}/images", headers=[(b"X-Auth-Token", text.encode("latin-1"))])
    assert response.json() == {"unauthorized": {"code": 401, "message": "The token is invalid or expired."}}


def test_repeated_token_header_is_unauthorized(client: TestClient, token: CreateToken) -> None:
    valid = token().encode()
    for pair in ([valid, b"x"], [b"x", valid], [valid, valid]):
        headers = [(b"X-Auth-Token", each) for each in pair]
        assert client.get(f"/v2/{PROJECT}/images", headers=headers).status_code == 401


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
def test_token_of_joins_all_headers_of_the_name(catalog: str, headers: list[tuple[bytes, bytes]], token: str) -> None:
    authenticator = CatalogTokenAuthenticator(ReadExecutor(open_catalog(catalog), 10), "X-Auth-Token")
    assert authenticator.token_of({"headers": headers}) == token


def test_revoked_token_is_unauthorized_at_the_next_request(
    client: TestClient, catalog: str, token: CreateToken
) -> None:
    text = token()
    assert [send(client, text).status_code for _ in range(3)] == [200, 200, 200]
    engine = open_catalog(catalog)
    revoke_tokens(engine, [each.id for each in list_tokens(engine)])
    assert send(client, text).status_code == 401


def test_token_is_unauthorized_from_the_second_of_its_expiry(
    client: TestClient, token: CreateToken, clock: FakeClock
) -> None:
    text = token(expires=clock.now(offset=60))
    clock.advance(59.999)
    assert [send(client, text).status_code for _ in range(2)] == [200, 200]
    clock.advance(0.001)
    assert send(client, text).status_code == 401


def test_oldest_validations_are_evicted_first(catalog: str, token: CreateToken) -> None:
    engine, texts = open_catalog(catalog), [token().encode() for _ in range(4)]
    authenticator = CatalogTokenAuthenticator(ReadExecutor(engine, 10), "X-Auth-Token")
    authenticator.max_cached_tokens = 2

    async def validate_all() -> list[bool]:
        for text in texts:
            assert await authenticator.authenticate(text) == Caller(PROJECT, is_admin=False)
        version = await current_version(engine)
        return [authenticator.cached_caller(text, version) is not None for text in texts]

    assert asyncio.run(validate_all()) == [False, False, True, True]


def test_validation_is_cached_for_one_version_of_the_catalog(catalog: str, token: CreateToken) -> None:
    engine, text = open_catalog(catalog), token().encode()
    authenticator = CatalogTokenAuthenticator(ReadExecutor(engine, 10), "X-Auth-Token")

    async def validate() -> list[bool]:
        await authenticator.authenticate(text)
        versions = (await current_version(engine), "other", None)
        return [authenticator.cached_caller(text, each) is not None for each in versions]

    assert asyncio.run(validate()) == [True, False, False]


def test_unreadable_catalog_is_unavailable(client: TestClient, catalog: str, token: CreateToken) -> None:
    text = token()
    remove_catalog(catalog)
    assert send(client, text).status_code == 503


# --- public paths, and the response cache ---


@pytest.mark.parametrize(
    "path", ["/", "/v2", "/v2/", "/healthcheck", "/healthcheck/ready", "/ui/", "/openapi.json", "/openapi.yaml"]
)
@pytest.mark.parametrize("headers", [{}, {"X-Auth-Token": "x"}])
def test_public_path_needs_no_token(client: TestClient, path: str, headers: dict[str, str]) -> None:
    assert client.get(path, headers=headers).status_code == 200


@sqlite_only
def test_public_responses_are_not_stored_for_any_token(client: TestClient, store: CountingStore) -> None:
    for headers in ({}, {"X-Auth-Token": "x"}, {"X-Auth-Token": "y"}):
        client.get("/", headers=headers)
    assert store.stats().entries == 0


def test_tokens_of_one_project_share_stored_responses(
    client: TestClient, store: CountingStore, token: CreateToken
) -> None:
    texts = [token(), token()]
    for text in texts * 2:
        send(client, text)
    assert store.stats()[:3] == (2, 2, 1)  # each token has to be validated once


def test_stored_response_is_not_used_for_another_caller(
    client: TestClient, store: CountingStore, token: CreateToken
) -> None:
    own, other, admin = token(), token(OTHER_PROJECT), token(is_admin=True)
    for text in (own, own, other, admin, admin):
        send(client, text)
    assert store.stats()[:3] == (2, 2, 2)
    for text, status in ((other, 403), (other, 403), ("", 401), ("x", 401)):
        assert send(client, text).status_code == status
    assert client.get(f"/v2/{PROJECT}/images/{image_id(1)}").status_code == 401
    assert store.stats()[:3] == (2, 2, 2)


# --- projects ---


@each_operation
def test_token_of_another_project_is_forbidden(client: TestClient, token: CreateToken, operation: Request) -> None:
    message = f"The token is for project {OTHER_PROJECT}, and the path names '{PROJECT}'."
    response = send(client, token(OTHER_PROJECT), operation)
    assert response.json() == {"forbidden": {"code": 403, "message": message}}


def test_project_ids_are_compared_without_dashes_and_case(client: TestClient, token: CreateToken) -> None:
    dashed = "abcdefab-cdef-abcd-efab-cdefabcdefab"
    text = token(dashed)
    for project_id in (dashed, dashed.upper(), dashed.replace("-", "")):
        assert send(client, text, project_id=project_id, number=3).status_code == 200


def test_project_id_that_only_matches_after_unicode_lowercasing_is_another(
    client: TestClient, token: CreateToken
) -> None:
    kelvin_sign = "\u212a"  # its lower case is the letter k
    assert send(client, token("openstack"), project_id=f"openstac{kelvin_sign}", number=3).status_code == 403


def test_path_that_two_paths_of_the_contract_match_needs_the_token_of_its_project(
    client: TestClient, token: CreateToken
) -> None:
    path = "/v2/images/images"  # the list of the project `images`, not the image `images` of the project `v2`
    statuses = [client.get(path, headers={"X-Auth-Token": token(each)}).status_code for each in ("images", "v2")]
    assert statuses == [200, 403]


def test_administrator_sees_what_the_project_in_the_path_sees(client: TestClient, token: CreateToken) -> None:
    admin = token("openstack", is_admin=True)
    for project_id in (PROJECT, OTHER_PROJECT):
        assert listed(client, admin, project_id) == listed(client, token(project_id), project_id)
    assert send(client, admin, number=2).status_code == 404
    assert send(client, admin, project_id=OTHER_PROJECT, number=2).status_code == 200


# --- images ---


@each_operation
def test_private_image_of_another_project_is_like_a_missing_one(
    client: TestClient, token: CreateToken, operation: Request
) -> None:
    text = token()
    private, missing = (send(client, text, operation, number=number) for number in (2, 99))
    assert private.status_code == 404
    assert private.content == missing.content
    for response in (private, missing):
        for name in ("x-compute-request-id", "x-openstack-request-id"):
            del response.headers[name]
    assert private.headers == missing.headers


@pytest.mark.parametrize("number", [4, 5, 6])
@each_change
def test_visible_image_of_another_project_is_read_only(
    client: TestClient, token: CreateToken, change: Request, number: int
) -> None:
    text = token()
    before = send(client, text, number=number).json()
    message = f"Image '{image_id(number)}' does not belong to the project."
    assert send(client, text, change, number=number).json() == {"forbidden": {"code": 403, "message": message}}
    assert send(client, text, number=number).json() == before


@each_change
@pytest.mark.parametrize(
    ("project_id", "is_admin", "path_project_id", "number", "is_allowed"),
    [
        (PROJECT, False, PROJECT, 1, True),
        (PROJECT, False, PROJECT, 3, False),
        (OTHER_PROJECT, True, PROJECT, 3, True),
        ("openstack", True, PROJECT, 4, False),
        ("openstack", True, OTHER_PROJECT, 4, True),
    ],
    ids=["own", "without owner", "without owner, by admin", "of another project, by admin", "own, by admin"],
)
def test_changes_are_for_the_owner_in_the_path_or_for_admins_if_there_is_none(  # noqa: PLR0913, PLR0917 a table
    client: TestClient,
    token: CreateToken,
    change: Request,
    project_id: str,
    is_admin: bool,
    path_project_id: str,
    number: int,
    is_allowed: bool,
) -> None:
    text = token(project_id, is_admin=is_admin)
    response = send(client, text, change, project_id=path_project_id, number=number)
    assert response.status_code in ({200, 204} if is_allowed else {403})


@pytest.mark.parametrize("headers", [{}, {"X-Auth-Token": "invalid"}])
def test_operation_that_requires_no_token_by_mistake_changes_nothing(
    serve: Serve, catalog: str, headers: dict[str, str]
) -> None:
    document = deepcopy(Contract.load(secured=True).document)
    document["paths"]["/v2/{tenant_id}/images/{image_id}"]["delete"]["security"] = []
    client = serve(catalog, Contract(document), auth="token")
    assert client.delete(f"/v2/{PROJECT}/images/{image_id(1)}", headers=headers).status_code == 500
    assert [each.status for each in export_images(open_catalog(catalog), owner=PROJECT)] == ["ACTIVE"]
