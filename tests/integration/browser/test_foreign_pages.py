"""Pages of other origins in a real browser: they change nothing, and read only what IMAGES_CORS_ORIGINS admits."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from app.catalog.engines import open_catalog
from app.catalog.models import StoredImage
from app.catalog.tokens import add_token
from app.catalog.transfer import export_images
from tests.integration.browser.conftest import REBOUND
from tests.integration.server.service import Service, serving, until

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

Open = Callable[[str], "Page"]
Start = Callable[..., Service]

IMAGE = "/v2/openstack/images/70a599e0-31e7-49b7-b260-868f441e862b"
SITES = ["localhost", "127.0.0.1"]  # another site, and another port of the same host

# Scripts that try to change the image at a URL, and the request that the service has to reject.
ATTACKS = {
    "fetch without Content-Type": (
        """url => fetch(`${url}/metadata`,
            {method: "POST", mode: "no-cors", body: new Blob(['{"metadata": {"changed": "1"}}'])})""",
        f"POST {IMAGE}/metadata 403",
    ),
    "beacon": (
        """url => navigator.sendBeacon(`${url}/metadata`, new Blob(['{"metadata": {"changed": "1"}}']))""",
        f"POST {IMAGE}/metadata 403",
    ),
    "form": (
        """url => {
            const form = Object.assign(document.createElement("form"),
                {method: "POST", action: `${url}/metadata`, enctype: "text/plain"});
            form.append(Object.assign(document.createElement("input"),
                {name: '{"metadata": {"changed": "', value: '"}}'}));
            document.body.append(form);
            form.submit();
        }""",
        f"POST {IMAGE}/metadata 403",
    ),
    "fetch of JSON": (
        """url => fetch(`${url}/metadata`, {method: "POST", headers: {"Content-Type": "application/json"},
            body: '{"metadata": {"changed": "1"}}'}).catch(() => {})""",
        f"OPTIONS {IMAGE}/metadata 204",
    ),
    "fetch of DELETE": (
        """url => fetch(url, {method: "DELETE"}).catch(() => {})""",
        f"OPTIONS {IMAGE} 204",
    ),
}

READ = """([url, options]) => fetch(url, options).then(
    async response => [response.status, Object.fromEntries(response.headers), await response.text()],
    error => error.name)"""


class EmptyPage(BaseHTTPRequestHandler):
    """Serves an empty page."""

    def do_GET(self) -> None:
        """Send the page."""
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Log nothing."""


@pytest.fixture(scope="module")
def pages() -> Iterator[int]:
    """Serve the pages of the other origins, and return their port."""
    with ThreadingHTTPServer(("127.0.0.1", 0), EmptyPage) as server:
        threading.Thread(target=server.serve_forever).start()
        yield server.server_port
        server.shutdown()


@pytest.fixture
def open_page(browser: "Browser") -> Iterator[Open]:
    with browser.new_page() as page:

        def open_page(url: str) -> "Page":
            page.goto(url)
            return page

        yield open_page


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    with ExitStack() as running:

        def start(**settings: Any) -> Service:
            defaults: dict[str, Any] = {"IMAGES_ACCESS_LOG": "on", "IMAGES_ALLOWED_HOSTS": ""}
            return running.enter_context(serving(tmp_path_factory.mktemp("service"), **defaults | settings))

        yield start


@pytest.fixture(scope="module", params=["none", "token"])
def service(request: pytest.FixtureRequest, start: Start) -> Service:
    """Run the service with its defaults in an authentication mode."""
    return start(IMAGES_AUTH=request.param)


def images(service: Service) -> list[StoredImage]:
    return list(export_images(open_catalog(service.folder / "data" / "catalog.db"), deleted=True))


def read(page: "Page", url: str, **options: Any) -> Any:
    """Return the status, the readable headers and the body of a response, or the name of the browser's error."""
    return page.evaluate(READ, [url, options])


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("attack", ATTACKS)
def test_page_of_another_origin_changes_nothing(
    service: Service, pages: int, open_page: Open, site: str, attack: str
) -> None:
    script, rejection = ATTACKS[attack]
    before, seen = images(service), service.log.count(rejection)
    open_page(f"http://{site}:{pages}").evaluate(script, f"{service.url}{IMAGE}")
    until(lambda: service.log.count(rejection) > seen)
    assert images(service) == before


@pytest.mark.parametrize("site", SITES)
def test_page_of_another_origin_reads_nothing(service: Service, pages: int, open_page: Open, site: str) -> None:
    page = open_page(f"http://{site}:{pages}")
    assert read(page, f"{service.url}{IMAGE}") == "TypeError"
    assert read(page, f"{service.url}{IMAGE}", mode="no-cors") == [0, {}, ""]


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_site_that_rebinds_its_name_neither_reads_nor_changes(start: Start, open_page: Open, method: str) -> None:
    service = start()
    before, origin = images(service), f"http://{REBOUND}:{service.port}"
    page = open_page(origin)  # shows the fault, in the origin of the site
    status, _, body = read(page, f"{origin}{IMAGE}", method=method)
    assert (status, "IMAGES_ALLOWED_HOSTS" in body, images(service)) == (400, True, before)


@pytest.mark.parametrize("auth", ["none", "token"])
def test_page_of_an_allowed_origin_reads_and_changes(start: Start, pages: int, open_page: Open, auth: str) -> None:
    service = start(IMAGES_AUTH=auth, IMAGES_CORS_ORIGINS=f"http://localhost:{pages}")
    engine = open_catalog(service.folder / "data" / "catalog.db")
    headers = {"X-Auth-Token": add_token(engine, "openstack", is_admin=True, expires=None)}
    url, page = f"{service.url}{IMAGE}", open_page(f"http://localhost:{pages}")

    status, readable, _ = read(page, url, headers=headers)
    assert status == 200
    assert {"etag", "x-compute-request-id", "x-openstack-request-id"} <= readable.keys()
    conditional = {"If-None-Match": readable["etag"], "Cache-Control": "no-cache"}
    assert read(page, url, headers=headers | conditional)[0] == 304
    body = {"method": "PUT", "body": '{"metadata": {"changed": "1"}}'}
    status, _, changed = read(page, f"{url}/metadata", headers=headers | {"Content-Type": "application/json"}, **body)
    assert (status, changed) == (200, '{"metadata":{"changed":"1"}}')
    assert read(page, url, method="DELETE", headers=headers)[0] == 204

    assert read(open_page(f"http://127.0.0.1:{pages}"), url, headers=headers) == "TypeError"
