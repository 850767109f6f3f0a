"""Faults: every error, on every path, is one Compute fault; internal causes are in the log only."""

import logging
import re
from typing import Any, Never

import pytest
from starlette.exceptions import HTTPException
from starlette.testclient import TestClient

from app import errors
from app.catalog import errors as catalog_errors
from app.catalog.engines import open_catalog
from app.errors import DomainError
from app.framework import faults
from app.framework.faults import Fault, fault_for
from app.overrides import Overrides
from app.text import quote
from tests.conftest import Serve, loaded
from tests.support.catalogs import remove_catalog, sqlite_only
from tests.support.images import catalog_at
from tests.support.projects import LIST_URL

SHOW = "/v2/openstack/images/nothing"

FOREIGN_PAGE = "A page of {} cannot change images without a token; IMAGES_CORS_ORIGINS can allow its origin."
INTERNAL = "Internal error. See the service log for this request id."
READ_ONLY = "The catalog is read-only: only the operator of the service can change it."
UNAVAILABLE = "The catalog is unavailable; try again later."
UNKNOWN = "The catalog became unavailable during the change, which may have been made; check before repeating it."
LATER = {"Retry-After": "5"}


class UnmappedError(DomainError):
    """An error of the domain that no operation should raise."""


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (errors.InvalidParameter("limit", ": 'x' is wrong"), Fault(400, "Parameter 'limit': 'x' is wrong.")),
        (
            errors.InvalidHost("a b"),
            Fault(400, "Header 'Host': 'a b' is not a host name or address with an optional port."),
        ),
        (
            errors.HostNotAllowed("evil.test"),
            Fault(400, "Header 'Host': 'evil.test' is not a host of this service; IMAGES_ALLOWED_HOSTS can add it."),
        ),
        (errors.InvalidBody("metadata: too long"), Fault(400, "Invalid request body: metadata: too long.")),
        (errors.Unauthorized("No.", "Keystone"), Fault(401, "No.", {"WWW-Authenticate": "Keystone"})),
        (errors.CrossOriginRequest("null"), Fault(403, FOREIGN_PAGE.format("the origin 'null'"))),
        (errors.CrossOriginRequest(""), Fault(403, FOREIGN_PAGE.format("another origin"))),
        (errors.NotImageOwner("x"), Fault(403, "Image 'x' does not belong to the project.")),
        (
            errors.ProjectMismatch(None, "a"),
            Fault(403, "The token is for no project, and the path names 'a'."),
        ),
        (
            errors.MetadataQuotaExceeded(129, 128),
            Fault(403, "The image would have 129 metadata items; the maximum is 128."),
        ),
        (catalog_errors.CatalogReadOnly("/secret/path: read-only"), Fault(403, READ_ONLY)),
        (
            errors.ReplicaReadOnly("x", "http://glance.test"),
            Fault(403, "Image 'x' is replicated from http://glance.test: change it there."),
        ),
        (errors.UpstreamForbidden("x"), Fault(403, "The image service denied this change to image 'x'.")),
        (errors.ImageNotFound(), Fault(404, "Image not found.")),
        (errors.MetadataItemNotFound("k"), Fault(404, "The image has no metadata item 'k'.")),
        (errors.UpstreamConflict("x"), Fault(409, "The image service cannot change image 'x' now: it is in use.")),
        (errors.RequestBodyTooLarge(9), Fault(413, "The request body is larger than 9 bytes.")),
        (errors.UnsupportedMediaType("A", "b", "c"), Fault(415, "Header 'A': 'b' is not c.")),
        (errors.UnsupportedMediaType("A", "", "c"), Fault(415, "Header 'A' is missing; expected c.")),
        (errors.InvalidResponse("'secret' is no status"), Fault(500, INTERNAL)),
        (UnmappedError("secret"), Fault(500, INTERNAL)),
        (ZeroDivisionError("secret"), Fault(500, INTERNAL)),
        (catalog_errors.CatalogBusy(), Fault(503, "The catalog is busy with other changes; try again later.", LATER)),
        (
            errors.IdentityUnavailable("secret"),
            Fault(503, "The identity service is unavailable; try again later.", LATER),
        ),
        (errors.UpstreamUnavailable(), Fault(503, "The image service is unavailable; try again later.", LATER)),
        (
            catalog_errors.QueryTimeout(10),
            Fault(
                503, "The query was given up after 10 seconds: add filters or lower the limit.", {"Retry-After": "10"}
            ),
        ),
        (catalog_errors.CatalogUnavailable("/secret/path: I/O error"), Fault(503, UNAVAILABLE, LATER)),
        (catalog_errors.CatalogConnectionLost("secret: closed"), Fault(503, UNAVAILABLE, LATER)),
        (catalog_errors.CommitUnknown("secret"), Fault(503, UNKNOWN, LATER)),
        (catalog_errors.CatalogMissing("secret"), Fault(503, UNAVAILABLE, LATER)),
        (catalog_errors.CatalogDamaged("secret"), Fault(503, UNAVAILABLE, LATER)),
        (catalog_errors.CatalogOfLaterVersion("secret", "2", "1"), Fault(503, UNAVAILABLE, LATER)),
        (catalog_errors.SchemaMismatch(), Fault(503, "The schema of the catalog is not that of this version.", LATER)),
        (HTTPException(403), Fault(403, "Forbidden")),
        (HTTPException(404, "secret"), Fault(404, "Path '/a\\nb' not found.")),
        (
            HTTPException(405, headers={"Allow": "GET"}),
            Fault(405, "'/a\\nb' does not support PUT; supported methods are GET, POST.", {"Allow": "GET, POST"}),
        ),
        (HTTPException(415, "Only JSON."), Fault(415, "Only JSON.")),
        (HTTPException(500, "secret"), Fault(500, INTERNAL)),
        (HTTPException(503, "secret"), Fault(503, INTERNAL, LATER)),
    ],
)
def test_each_error_has_its_fault(error: Exception, fault: Fault) -> None:
    allowed = ["GET", "POST"] if fault.status == 405 else []
    assert fault_for(error, method="PUT", path="/a\nb", allowed=allowed) == fault


@pytest.mark.parametrize("error", [each for each, status in faults._STATUS.items() if status == 503])
def test_every_503_states_when_to_repeat_the_request(error: type[DomainError]) -> None:
    fault = fault_for(error.__new__(error), method="GET", path="/")
    assert (fault.status, fault.headers) == (503, LATER)


@pytest.mark.parametrize(
    ("text", "quoted"),
    [("a\n\x00\N{LINE SEPARATOR}", r"'a\n\x00\u2028'"), ("x" * 101, f"'{'x' * 100}…'")],
    ids=["control characters", "long"],
)
def test_quoted_input_is_escaped_and_truncated(text: str, quoted: str) -> None:
    assert quote(text) == quoted


@pytest.mark.parametrize(
    "path",
    [
        *(f"/{LIST_URL}", f"//{LIST_URL}", f"{LIST_URL}/", f"{LIST_URL}//", f"{LIST_URL}/x"),
        *("/v2//openstack/images/detail", "/v2/openstack//images/detail", "/V2/openstack/images/detail"),
        *("/nowhere", "/healthcheck/", "/openapi.yaml/", "/ui/nothing", "/ui//"),
    ],
)
def test_unknown_path_is_not_found_and_not_redirected(client: TestClient, path: str) -> None:
    response = client.get(f"http://compute.test{path}")
    hint = " It has an empty segment: does a base URL end with a slash?" if "//" in path else ""
    assert response.json() == {"itemNotFound": {"code": 404, "message": f"Path '{path}' not found.{hint}"}}
    assert response.status_code == 404
    assert "location" not in response.headers


@pytest.mark.parametrize("method", ["POST", "OPTIONS"])
def test_unknown_path_is_not_found_for_any_method(client: TestClient, method: str) -> None:
    assert client.request(method, "/nowhere").status_code == 404


def test_encoded_slash_in_path_is_a_slash(client: TestClient) -> None:
    assert client.get(LIST_URL.replace("/images", "%2Fimages")).json() == client.get(LIST_URL).json()


each_read_only_path = pytest.mark.parametrize(
    "path", ["/v2/openstack/images", "/v2/no-tenant/images", LIST_URL, "/", "/openapi.yaml", "/ui", "/ui/"]
)


@each_read_only_path
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "TRACE", "MADEUP"])
def test_unsupported_method_names_the_supported_ones(client: TestClient, path: str, method: str) -> None:
    response = client.request(method, path)
    message = f"'{path}' does not support {method}; supported methods are GET, HEAD, OPTIONS."
    assert (response.status_code, response.headers["allow"]) == (405, "GET, HEAD, OPTIONS")
    assert response.json() == {"badMethod": {"code": 405, "message": message}}


def test_allow_header_has_all_methods_of_the_path(client: TestClient) -> None:
    response = client.patch("/v2/openstack/images/x/metadata")
    assert (response.status_code, response.headers["allow"]) == (405, "GET, HEAD, OPTIONS, POST, PUT")


@each_read_only_path
@pytest.mark.parametrize("auth", ["none", "token"])
def test_options_returns_the_supported_methods_without_a_token(
    serve: Serve, sample_catalog: str, auth: str, path: str
) -> None:
    response = serve(sample_catalog, auth=auth).options(path, headers={"Origin": "http://evil.test"})
    assert (response.status_code, response.headers["allow"], response.content) == (204, "GET, HEAD, OPTIONS", b"")
    assert [name for name in response.headers if name.startswith("access-control")] == []


@pytest.mark.parametrize(("path", "status"), [(LIST_URL, 200), (f"{LIST_URL}?limit=x", 400), ("/nowhere", 404)])
def test_head_has_the_headers_of_get(client: TestClient, path: str, status: int) -> None:
    get, head = client.get(path), client.head(path)
    assert (get.status_code, head.status_code) == (status, status)
    for name in ("x-compute-request-id", "x-openstack-request-id"):
        assert get.headers.pop(name) != head.headers.pop(name)
    assert head.headers == get.headers


@pytest.mark.parametrize("path", [LIST_URL, f"{LIST_URL}?limit=x", "/nowhere", "/openapi.json", "/ui/", "//v2"])
def test_every_response_has_its_own_request_id(client: TestClient, path: str) -> None:
    headers = [client.get(f"http://compute.test{path}").headers for _ in range(2)]
    first, second = (each["x-compute-request-id"] for each in headers)
    assert [each["x-openstack-request-id"] for each in headers] == [first, second]
    assert re.fullmatch("req-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", first)
    assert first != second


@pytest.mark.parametrize(
    "headers",
    [
        *({"Content-Type": each} for each in (";;;", "a", "application/json; charset=nonsense", "/", "")),
        {"Content-Length": "5", "Connection": "Upgrade", "Upgrade": "websocket"},
    ],
    ids=str,
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_body_headers_of_a_read_are_ignored(client: TestClient, headers: dict[str, str], method: str) -> None:
    assert client.request(method, LIST_URL, headers=headers).status_code == 200


def test_unexpected_error_is_logged_and_not_disclosed(
    serve: Serve, sample_catalog: str, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(**_: Any) -> Never:
        raise RuntimeError("secret")

    response = serve(sample_catalog, overrides=Overrides(resolve_operation=lambda _: fail)).get(LIST_URL)
    assert (response.status_code, response.json()) == (500, {"computeFault": {"code": 500, "message": INTERNAL}})
    (record,) = [each for each in caplog.records if each.levelno == logging.ERROR]
    assert record.getMessage() == f"GET '{LIST_URL}': secret"
    assert record.exc_info
    assert str(record.exc_info[1]) == "secret"


@sqlite_only
def test_missing_catalog_is_unavailable(serve: Serve, location: str, caplog: pytest.LogCaptureFixture) -> None:
    client = serve(catalog_at(location))
    assert client.get(LIST_URL).status_code == 200
    remove_catalog(location)
    response = client.get(LIST_URL)
    assert response.status_code == 503
    assert response.json() == {"serviceUnavailable": {"code": 503, "message": UNAVAILABLE}}
    assert open_catalog(location).name in caplog.text


def test_client_errors_are_not_logged(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    client.get(f"{LIST_URL}?limit=x")
    client.get("/nowhere")
    assert caplog.records == []


@pytest.mark.parametrize(
    ("method", "url", "status"), [("GET", f"{SHOW}?limit=x", 400), ("GET", SHOW, 404), ("PUT", SHOW, 405)]
)
def test_fault_conforms_to_the_contract(client: TestClient, method: str, url: str, status: int) -> None:
    response = client.request(method, url)
    loaded().operations["showImage"].validate_response(status, response.json())
    assert response.status_code == status
    assert response.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("status", "name"),
    [
        (400, "badRequest"),
        (403, "forbidden"),
        (404, "itemNotFound"),
        (405, "badMethod"),
        (413, "overLimit"),
        (415, "badMediaType"),
        (500, "computeFault"),
        (503, "serviceUnavailable"),
        (418, "computeFault"),  # not in the contract
    ],
)
def test_fault_is_named_by_its_status(status: int, name: str) -> None:
    assert loaded().fault(status, "why") == f'{{"{name}":{{"code":{status},"message":"why"}}}}'.encode()
