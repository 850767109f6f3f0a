"""What tests share: catalogs in files of their own, and clients of the whole application in this process."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any, cast

import pytest
from starlette.testclient import TestClient

from app.catalog.documents import load_sample
from app.catalog.transfer import ensure_catalog
from app.contract.document import Contract
from app.factory import create_app
from app.settings import Settings

Serve = Callable[..., TestClient]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Let a skipped test fail where nothing may be skipped: in CI."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("CI") == "true":
        report.outcome = "failed"
        report.longrepr = f"Skipped in CI, where nothing may be: {call.excinfo and call.excinfo.value}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Any:
    """Let a file that is skipped whole fail there as well."""
    report = yield
    if report.skipped and os.environ.get("CI") == "true":
        report.outcome = "failed"
        report.longrepr = f"Skipped in CI, where nothing may be: {report.longrepr}"
    return report


@pytest.fixture(scope="session")
def sample_catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make the catalog of the documented sample; no test writes to it."""
    path = tmp_path_factory.mktemp("sample") / "catalog.db"
    ensure_catalog(path, load_sample)
    return path


@cache
def loaded(auth: str = "none") -> Contract:
    """Load the contract once for all applications that ask their callers in some way, or do not."""
    return Contract.load(secured=auth != "none")


def client_of(catalog: Path, contract: Contract | None = None, **settings: Any) -> TestClient:
    """Build the application with a client that follows no redirect; within its context, the application runs."""
    app = create_app(Settings(catalog=catalog, **settings), contract or loaded(settings.get("auth", "none")))
    client = app.test_client(base_url="http://compute.test", raise_server_exceptions=False, follow_redirects=False)
    return cast("TestClient", client)


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Give a function that serves a catalog to a client, until the test ends."""
    with ExitStack() as running:
        yield lambda *args, **settings: running.enter_context(client_of(*args, **settings))


@pytest.fixture(scope="session")
def client(sample_catalog: Path) -> Iterator[TestClient]:
    """Serve the documented sample with the settings as they come."""
    with client_of(sample_catalog) as client:
        yield client
