"""The OpenAPI document and Swagger UI: public, secured by response headers, and optional."""

import re

import pytest
from starlette.testclient import TestClient

from app.text import quote
from tests.conftest import Serve

PAGES = ["/ui", "/ui/", "/ui/swagger-ui.css", "/ui/swagger-initializer.js", "/openapi.yaml", "/openapi.json"]
SECURITY_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


@pytest.mark.parametrize("path", PAGES)
def test_page_has_security_headers_and_is_read_only(client: TestClient, path: str) -> None:
    assert SECURITY_HEADERS.items() <= dict(client.get(path).headers).items()
    response = client.post(path)
    assert (response.status_code, response.headers["allow"]) == (405, "GET, HEAD, OPTIONS")


def test_pages_can_be_disabled(serve: Serve, sample_catalog: str) -> None:
    client = serve(sample_catalog, docs="off")
    for path in PAGES:
        assert client.get(path).json() == {"itemNotFound": {"code": 404, "message": f"Path '{path}' not found."}}
    assert client.get("/v2/openstack/images").status_code == 200


@pytest.mark.parametrize(
    "path", ["/ui/../settings.py", "/ui/%2e%2e/settings.py", "/ui/..%2fsettings.py", "/ui//etc/passwd"]
)
def test_files_outside_of_swagger_ui_are_not_served(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


def test_urls_are_relative_so_that_a_proxy_can_add_a_prefix(client: TestClient) -> None:
    redirect = client.get("/ui", headers={"Host": "evil.test"})
    assert (redirect.status_code, redirect.headers["location"]) == (307, "ui/")
    references = re.findall(r'(?:src|href)="([^"]+)"', client.get("/ui/").text)
    assert references
    assert [each for each in references if not each.startswith("./")] == []
    assert {client.get(f"/ui/{each}").status_code for each in references} == {200}
    assert 'url: "../openapi.json"' in client.get("/ui/swagger-initializer.js").text


@pytest.mark.parametrize(
    ("compute_url", "host", "expected"),
    [
        (None, "localhost:8774", "http://localhost:8774"),
        (None, "[::1]", "http://[::1]"),
        ("https://cloud.example.com/images", "evil.test", "https://cloud.example.com/images"),
    ],
)
def test_document_names_the_url_of_the_service_and_is_not_stored(
    serve: Serve, sample_catalog: str, compute_url: str | None, host: str, expected: str
) -> None:
    response = serve(sample_catalog, compute_url=compute_url).get("/openapi.json", headers={"Host": host})
    assert [server["url"] for server in response.json()["servers"]] == [expected]
    assert response.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("host", ["a/b", 'a"b', "a\\b", ""])
def test_document_is_not_built_for_an_invalid_host(client: TestClient, host: str) -> None:
    response = client.get("/openapi.yaml", headers={"Host": host})
    message = f"Header 'Host': {quote(host)} is not a host name or address with an optional port."
    assert response.json() == {"badRequest": {"code": 400, "message": message}}
