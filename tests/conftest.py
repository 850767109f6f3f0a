"""Fixtures for all tests: a catalog of the documented sample, and clients of the application in this process."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from functools import cache
from pathlib import Path
from typing import Any, cast

import orjson
import pytest
from connexion.spec import OpenAPISpecification
from starlette.testclient import TestClient

from app.catalog.documents import load_sample
from app.catalog.engines import open_catalog
from app.catalog.transfer import ensure_catalog
from app.contract.document import Contract
from app.factory import create_app
from app.overrides import NO_OVERRIDES, Overrides
from app.settings import Settings
from tests.support.catalogs import Catalogs, NewCatalog, PostgreSQLCatalogs, sqlite_catalogs
from tests.support.packages import Missing
from tests.support.postgresql import Cluster, cluster

Serve = Callable[..., TestClient]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Report a skipped test as failed in CI."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get("CI") == "true":
        report.outcome = "failed"
        report.longrepr = f"Skipped, which CI does not allow: {call.excinfo and call.excinfo.value}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Any:
    """Report a skipped file as failed in CI."""
    report = yield
    if report.skipped and os.environ.get("CI") == "true":
        report.outcome = "failed"
        report.longrepr = f"Skipped, which CI does not allow: {report.longrepr}"
    return report


def pytest_collection_finish(session: pytest.Session) -> None:
    """Install what the selected tests need before the first one, because the time limit of a test does not apply here.

    A test whose packages could not be installed is skipped when it asks for them.
    """
    if session.config.option.collectonly:
        return
    markers = [marker for item in session.items for marker in item.iter_markers("external")]
    with session.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        for install in dict.fromkeys(each for marker in markers for each in marker.kwargs.get("install", ())):
            with suppress(Missing):
                install()


@pytest.fixture(scope="session", autouse=True)
def documents_validated_once() -> Iterator[None]:
    """Validate each OpenAPI document once in this process, not again for each application that a test creates.

    Connexion validates in pure Python, which takes longer than everything else in creating an application.
    """
    validate, valid = OpenAPISpecification._validate_spec, set[bytes]()

    def validate_once(document: dict[str, Any]) -> None:
        text = orjson.dumps(document)
        if text not in valid:
            validate(document)
            valid.add(text)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OpenAPISpecification, "_validate_spec", staticmethod(validate_once))
        yield


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Cluster]:
    """Run a PostgreSQL cluster, which starts before the first test that uses it and ends with the test run."""
    with ExitStack() as running:
        try:
            server = running.enter_context(cluster())
        except Missing as error:
            pytest.skip(str(error))
        yield server


@pytest.fixture(scope="session", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.external)])
def catalogs(request: pytest.FixtureRequest) -> Catalogs:
    """Return what provides new catalogs of an engine. Tests that depend on it run once for each engine."""
    return sqlite_catalogs if request.param == "sqlite" else PostgreSQLCatalogs(request.getfixturevalue("postgresql"))


@pytest.fixture
def new_catalog(catalogs: Catalogs, tmp_path: Path) -> Iterator[NewCatalog]:
    """Return a function that returns the location of the test's catalog of a name, which does not exist yet."""
    with catalogs(tmp_path) as new_catalog:
        yield new_catalog


@pytest.fixture
def location(new_catalog: NewCatalog) -> str:
    """Return the location of a catalog that does not exist yet."""
    return new_catalog("catalog")


@pytest.fixture(scope="session")
def sample_catalog(catalogs: Catalogs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Create a catalog of the documented sample; no test writes to it."""
    with catalogs(tmp_path_factory.mktemp("sample")) as new_catalog:
        location = new_catalog("catalog")
        ensure_catalog(open_catalog(location), load_sample, tombstone_days=30)
        yield location


@cache
def loaded(auth: str = "none") -> Contract:
    """Return the contract for a kind of authentication, loaded once for all applications."""
    return Contract.load(secured=auth != "none")


def client_of(
    catalog: str | Path, contract: Contract | None = None, *, overrides: Overrides = NO_OVERRIDES, **settings: Any
) -> TestClient:
    """Return a client of a new application, which follows no redirects. The application runs in its context."""
    contract = contract or loaded(settings.get("auth", "none"))
    app = create_app(Settings(catalog=str(catalog), **settings), contract, overrides=overrides)
    client = app.test_client(base_url="http://compute.test", raise_server_exceptions=False, follow_redirects=False)
    return cast("TestClient", client)


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Return a function that serves a catalog and returns a client, until the test ends."""
    with ExitStack() as running:
        yield lambda *args, **settings: running.enter_context(client_of(*args, **settings))


@pytest.fixture(scope="session")
def client(sample_catalog: Path) -> Iterator[TestClient]:
    """Serve the documented sample with the default settings."""
    with client_of(sample_catalog) as client:
        yield client
