"""The document and its UI as they are served: open to all, safe in a browser, or not there at all."""

from pathlib import Path

import pytest
from starlette.testclient import TestClient

from tests.conftest import Serve

PAGES = ["/ui", "/ui/", "/ui/swagger-ui.css", "/ui/swagger-initializer.js", "/openapi.yaml", "/openapi.json"]
TOLD = {
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

each_page = pytest.mark.parametrize("path", PAGES)


@each_page
def test_a_browser_is_told_what_not_to_do_with_a_page(client: TestClient, path: str) -> None:
    assert TOLD.items() <= dict(client.get(path).headers).items()


@each_page
def test_a_page_is_read_and_nothing_else(client: TestClient, path: str) -> None:
    refused = client.post(path)
    assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")


@each_page
def test_the_pages_can_be_turned_off(serve: Serve, sample_catalog: Path, path: str) -> None:
    client = serve(sample_catalog, docs="off")
    assert client.get(path).json() == {"itemNotFound": {"code": 404, "message": f"There is nothing at '{path}'."}}
    assert client.get("/v2/openstack/images").status_code == 200


@pytest.mark.parametrize(
    "path", ["/ui/../settings.py", "/ui/%2e%2e/settings.py", "/ui/..%2fsettings.py", "/ui//etc/passwd"]
)
def test_nothing_else_is_served_beside_them(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


def test_the_pages_and_the_document_name_no_path_that_a_proxy_might_have_put_before_them(client: TestClient) -> None:
    assert client.get("/ui").headers["location"] == "ui/"
    assert 'url: "../openapi.json"' in client.get("/ui/swagger-initializer.js").text
    assert [server["url"] for server in client.get("/openapi.json").json()["servers"]] == ["./"]
