"""Web pages of other origins: the Host header, changes that a browser sends for a page, and CORS."""

import pytest
from starlette.testclient import TestClient

from app.catalog.engines import open_catalog
from app.catalog.tokens import add_token
from tests.conftest import Serve
from tests.support.images import catalog_at, image, image_id
from tests.support.projects import LIST_URL, PROJECT

METADATA = f"/v2/{PROJECT}/images/{image_id(1)}/metadata"
FRIEND, EVIL = "https://friend.test", "http://evil.test"

CHANGED, FORBIDDEN = 200, 403


@pytest.fixture
def catalog(location: str) -> str:
    return catalog_at(location, image(1, owner=PROJECT))


def change(client: TestClient, **headers: str) -> int:
    """Change metadata with these headers, in whose names `_` stands for `-`, and return the status."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post(METADATA, json={"metadata": {"a": "b"}}, headers=sent).status_code


def cors_headers(client: TestClient, method: str, url: str, origin: str, **headers: str) -> tuple[int, dict[str, str]]:
    response = client.request(method, url, headers={"Origin": origin} | headers)
    return response.status_code, {
        name.removeprefix("access-control-"): value
        for name, value in response.headers.items()
        if name.startswith("access-control-") or name == "vary"
    }


# --- Host ---


@pytest.mark.parametrize("url", [LIST_URL, "/", "/healthcheck", "/ui/", "/nowhere"])
@pytest.mark.parametrize(
    ("hosts", "is_allowed"),
    [
        (("localhost", "LOCALHOST:8774", "localhost.", "localhost.:1", "[::1]", "[0:0::1]:80"), True),
        (("a.images.test", "a.b.images.test:80"), True),
        (("", "images.test", "evil.test", "localhost.evil.test", "evillocalhost", "localhost@evil.test"), False),
        (("::1", "[::1", "[::2]", "localhost:", "localhost:x", "localhost:65536", "localhost,localhost"), False),
    ],
)
def test_other_hosts_are_rejected(
    serve: Serve, catalog: str, url: str, hosts: tuple[str, ...], is_allowed: bool
) -> None:
    client = serve(catalog, allowed_hosts=("localhost", "[::1]", "*.images.test"))
    for host in hosts * 2:  # the second response may be a cached one
        assert ("IMAGES_ALLOWED_HOSTS" not in client.get(url, headers={"Host": host}).text) == is_allowed


def test_any_host_is_allowed_by_default(serve: Serve, catalog: str) -> None:
    assert serve(catalog).get(LIST_URL, headers={"Host": "evil.test"}).status_code == 200


# --- changes ---


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, CHANGED),
        ({"Origin": EVIL}, FORBIDDEN),
        ({"Origin": "null"}, FORBIDDEN),
        ({"Origin": "http://compute.test"}, CHANGED),
        ({"Origin": "https://compute.test"}, CHANGED),  # a proxy removed TLS
        ({"Origin": "https://compute.test", "Host": "compute.test:443"}, CHANGED),
        ({"Origin": "http://compute.test:3000"}, FORBIDDEN),
        ({"Origin": "http://compute.test.evil.test"}, FORBIDDEN),
        ({"Origin": "http://compute.test", "Sec_Fetch_Site": "cross-site"}, FORBIDDEN),
        ({"Sec_Fetch_Site": "cross-site"}, FORBIDDEN),
        ({"Sec_Fetch_Site": "same-site"}, FORBIDDEN),
        ({"Sec_Fetch_Site": "none"}, CHANGED),
        ({"Sec_Fetch_Site": "same-origin", "Origin": "https://proxy.test"}, CHANGED),  # a proxy replaced Host
        ({"Sec_Fetch_Site": "same-site", "Origin": "https://public.test:8443"}, CHANGED),  # the URL of the service
        ({"Sec_Fetch_Site": "cross-site", "Origin": FRIEND}, CHANGED),
        ({"Origin": EVIL, "X_Auth_Token": "any"}, FORBIDDEN),
    ],
)
def test_page_of_another_origin_cannot_change_anything(
    serve: Serve, catalog: str, headers: dict[str, str], status: int
) -> None:
    client = serve(catalog, compute_url="https://public.test:8443/images", cors_origins=(FRIEND,))
    assert change(client, **headers) == status
    assert client.get(METADATA).json() == {"metadata": {"a": "b"} if status == CHANGED else {}}


def test_page_of_any_origin_can_change_images_if_all_are_allowed(serve: Serve, catalog: str) -> None:
    assert change(serve(catalog, cors_origins=("*",)), Origin="null", Sec_Fetch_Site="cross-site") == CHANGED


def test_token_gives_the_right_to_change_whatever_the_origin(serve: Serve, catalog: str) -> None:
    client = serve(catalog, auth="token")
    token = add_token(open_catalog(catalog), PROJECT, is_admin=False, expires=None)
    assert change(client, Origin=EVIL) == FORBIDDEN
    assert change(client) == 401
    assert change(client, Origin=EVIL, X_Auth_Token=token[:-1]) == 401
    assert change(client, Origin=EVIL, X_Auth_Token=token) == CHANGED


# --- CORS ---

EXPOSED = "x-compute-request-id, x-openstack-request-id, ETag, Last-Modified, Retry-After, WWW-Authenticate, Allow"


@pytest.mark.parametrize(("url", "status"), [(LIST_URL, 200), (f"{LIST_URL}?limit=x", 400), ("/nowhere", 404)])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_allowed_origin_can_read_responses(serve: Serve, catalog: str, method: str, url: str, status: int) -> None:
    client = serve(catalog, cors_origins=(FRIEND,))
    vary = "accept-encoding, Origin" if status == 200 else "Origin"
    readable = {"vary": vary, "allow-origin": FRIEND, "expose-headers": EXPOSED}
    for _ in range(2):
        assert cors_headers(client, method, url, FRIEND) == (status, readable)
        assert cors_headers(client, method, url, EVIL) == (status, {"vary": vary, "expose-headers": EXPOSED})
        assert client.get(url).headers["vary"] == vary


def test_not_modified_response_can_be_read(serve: Serve, catalog: str) -> None:
    client = serve(catalog, cors_origins=(FRIEND,))
    headers = {"If-None-Match": client.get(LIST_URL).headers["etag"]}
    readable = {"vary": "accept-encoding, Origin", "allow-origin": FRIEND, "expose-headers": EXPOSED}
    assert cors_headers(client, "GET", LIST_URL, FRIEND, **headers) == (304, readable)


@pytest.mark.parametrize("auth", ["none", "token"])
def test_preflight_of_allowed_origin_succeeds_without_token(serve: Serve, catalog: str, auth: str) -> None:
    client = serve(catalog, auth=auth, cors_origins=(FRIEND,))
    asked = {"Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "content-type,x-auth-token"}
    status, headers = cors_headers(client, "OPTIONS", METADATA, FRIEND, **asked)
    assert (status, headers["allow-origin"], headers["allow-headers"]) == (200, FRIEND, "content-type,x-auth-token")
    assert headers["allow-methods"] == "DELETE, GET, HEAD, OPTIONS, POST, PUT"
    assert "allow-credentials" not in headers


@pytest.mark.parametrize(
    ("origin", "method", "problem"), [(EVIL, "PUT", "origin"), (FRIEND, "PATCH", "method"), ("null", "PUT", "origin")]
)
def test_other_preflight_is_rejected_by_a_fault(
    serve: Serve, catalog: str, origin: str, method: str, problem: str
) -> None:
    client = serve(catalog, cors_origins=(FRIEND,))
    response = client.options(METADATA, headers={"Origin": origin, "Access-Control-Request-Method": method})
    assert response.json() == {"badRequest": {"code": 400, "message": f"Disallowed CORS {problem}."}}
    assert response.headers.get("access-control-allow-origin") == (FRIEND if origin == FRIEND else None)
    assert response.headers["x-compute-request-id"]


def test_no_response_has_cors_headers_by_default(serve: Serve, catalog: str) -> None:
    client = serve(catalog)
    assert cors_headers(client, "OPTIONS", METADATA, EVIL, **{"Access-Control-Request-Method": "PUT"}) == (204, {})
    assert cors_headers(client, "GET", LIST_URL, EVIL) == (200, {"vary": "accept-encoding"})


# --- media types ---


@pytest.mark.parametrize(
    "url", [LIST_URL, f"{LIST_URL}?limit=x", "/nowhere", "/openapi.json", "/ui", "/ui/", "/ui/swagger-ui.css", "/ui/x"]
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT"])
def test_browsers_must_not_guess_media_types(client: TestClient, method: str, url: str) -> None:
    assert client.request(method, url).headers.get_list("x-content-type-options") == ["nosniff"]
