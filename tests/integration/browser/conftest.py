"""What these tests share: a browser, and in it the page of a service with a catalog of its own."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.integration.browser.swagger_ui import SwaggerUI
from tests.integration.server.service import serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser

FLAGS = (
    "--no-sandbox",  # root has none
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    # What the browser asks for by itself.
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # and no other machine is found
)


@pytest.fixture(scope="package")
def browser() -> Iterator["Browser"]:
    """Start the Chromium of this machine; Playwright would download one."""
    playwright = pytest.importorskip("playwright.sync_api")
    chromium = shutil.which("chromium") or pytest.skip("Missing: chromium.")
    with (
        playwright.sync_playwright() as drivers,
        drivers.chromium.launch(executable_path=chromium, args=FLAGS) as started,
    ):
        yield started


@pytest.fixture
def ui(browser: "Browser", tmp_path: Path) -> Iterator[SwaggerUI]:
    """Serve the documented sample to a page."""
    with _shown(browser, tmp_path) as used:
        yield used


@pytest.fixture
def guarded_ui(browser: "Browser", tmp_path: Path) -> Iterator[SwaggerUI]:
    """Serve the documented sample to a page that needs a token."""
    with _shown(browser, tmp_path, auth="token") as used:
        yield used


@contextmanager
def _shown(browser: "Browser", folder: Path, auth: str = "none") -> Iterator[SwaggerUI]:
    """Show a page of a service, which is to ask nobody else and to complain of nothing."""
    documented = serving(
        folder,
        IMAGES_AUTH=auth,
        IMAGES_COMPUTE_URL="http://openstack.example.com",
        IMAGES_GLANCE_URL="http://glance.openstack.example.com",
    )
    with documented as service, browser.new_page() as page:
        used = SwaggerUI(page, f"http://127.0.0.1:{service.port}")
        yield used
    assert [url for url in used.requests if not url.startswith(f"{used.origin}/")] == []
    assert used.complaints == []
