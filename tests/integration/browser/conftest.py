"""Shared fixtures: a browser, and Swagger UI of a service with its own catalog."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from app.catalog.documents import load_sample
from app.catalog.engines import open_catalog
from app.catalog.transfer import import_images
from tests.integration.browser.swagger_ui import SwaggerUI
from tests.integration.server.service import serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser

REBOUND = "rebind.example"  # a website that resolves its name to the loopback address

FLAGS = (
    "--no-sandbox",  # needed to run as root
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    # No requests of the browser itself.
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # No other host name is resolved.
    f"--host-resolver-rules=MAP {REBOUND} 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
    "--disable-features=LocalNetworkAccessChecks",  # the service has to be safe in browsers without this protection
)


@pytest.fixture(scope="package")
def browser() -> Iterator["Browser"]:
    """Start the Chromium that the system has installed; by default, Playwright would download one."""
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or pytest.skip("Missing: chromium.")
    with (
        playwright.sync_playwright() as drivers,
        drivers.chromium.launch(executable_path=chromium, args=FLAGS) as started,
    ):
        yield started


@pytest.fixture(scope="package")
def page(browser: "Browser", tmp_path_factory: pytest.TempPathFactory) -> Iterator[SwaggerUI]:
    """Open Swagger UI of a service with the documented sample. Tests share the page: scripts are compiled only once."""
    with _opened(browser, tmp_path_factory.mktemp("ui")) as opened:
        yield opened


@pytest.fixture
def ui(page: SwaggerUI) -> Iterator[SwaggerUI]:
    """Restore the documented sample and return the page."""
    import_images(open_catalog(page.catalog), load_sample(), tombstone_days=30)
    with _without_errors(page):
        yield page


@pytest.fixture
def guarded_ui(browser: "Browser", tmp_path: Path) -> Iterator[SwaggerUI]:
    with _opened(browser, tmp_path, auth="token") as opened, _without_errors(opened):
        yield opened


@contextmanager
def _opened(browser: "Browser", folder: Path, auth: str = "none") -> Iterator[SwaggerUI]:
    server = serving(
        folder,
        IMAGES_AUTH=auth,
        IMAGES_COMPUTE_URL="http://openstack.example.com",
        IMAGES_GLANCE_URL="http://glance.openstack.example.com",
    )
    with server as service, browser.new_page() as page:
        yield SwaggerUI(page, service.url, service.folder / "data" / "catalog.db")


@contextmanager
def _without_errors(opened: SwaggerUI) -> Iterator[None]:
    """Check after the block that the page sent requests only to its origin and logged no errors."""
    opened.requests.clear()
    yield
    assert [url for url in opened.requests if not url.startswith(f"{opened.origin}/")] == []
    assert opened.errors == []
