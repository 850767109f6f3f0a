"""The health check, which depends on nothing, and the readiness check, which names each part that has failed."""

import asyncio
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.auth.catalog_tokens import CatalogTokenAuthenticator
from app.catalog.engines import open_catalog
from app.catalog.executor import ReadExecutor
from app.catalog.sqlite.engine import SQLiteEngine
from app.errors import IdentityUnavailable
from app.overrides import Overrides
from tests.conftest import Serve
from tests.functional.test_slow_reads import LockedEngine, SlowEngine
from tests.support.catalogs import Catalogs, execute, remove_catalog, sqlite_only
from tests.support.images import catalog_at, image
from tests.support.projects import LIST_URL

READY = "/healthcheck/ready"
OK = {"status": "ok"}
UNAVAILABLE = "The catalog is unavailable; try again later."
BUSY = "The catalog is busy with other changes; try again later."
OTHER_SCHEMA = "The schema of the catalog is not that of this version."


@pytest.fixture
def location(catalogs: Catalogs, tmp_path: Path) -> Iterator[str]:
    """Return the location of a catalog whose tables no other test uses."""
    with catalogs(tmp_path) as new_catalog:
        yield new_catalog("catalog")


@pytest.fixture
def catalog(location: str) -> str:
    return catalog_at(location, image(1))


def catalog_failure(reason: str) -> dict[str, Any]:
    return {"catalog": {"status": "failed", "reason": reason}, "migrations": {"status": "unknown"}}


def rename(catalog: str) -> None:
    execute(catalog, "ALTER TABLE images RENAME TO elsewhere")


def damage(catalog: str) -> None:
    if catalog.startswith("postgresql:"):
        execute(catalog, "DROP TABLE image_index")
    else:
        Path(catalog).write_bytes(b"\xff" * 8192)


def change_schema(catalog: str) -> None:
    if catalog.startswith("postgresql:"):
        execute(catalog, "INSERT INTO migrations VALUES ('999: later', '9.9')")
    else:
        execute(catalog, "DELETE FROM _sqlite_migrations WHERE id = 6")


MISMATCH = {"catalog": OK, "migrations": {"status": "failed", "reason": OTHER_SCHEMA}}
FAILURES: dict[str, tuple[Callable[[str], object], dict[str, Any]]] = {
    "missing": (remove_catalog, catalog_failure(UNAVAILABLE)),
    "damaged": (damage, catalog_failure(UNAVAILABLE)),
    "unreadable": (rename, catalog_failure(UNAVAILABLE)),
    "other version": (change_schema, MISMATCH),
}


@pytest.mark.parametrize(("change", "checks"), FAILURES.values(), ids=FAILURES)
def test_failed_catalog_makes_the_service_unavailable_and_is_logged_once(
    serve: Serve, catalog: str, caplog: pytest.LogCaptureFixture, change: Callable[[str], object], checks: Any
) -> None:
    client = serve(catalog)
    before = client.get(READY)
    assert (before.status_code, before.headers["cache-control"]) == (200, "no-store")
    assert before.json() == {"status": "ready", "checks": {"catalog": OK, "migrations": OK}}
    change(catalog)
    for _ in range(2):
        response = client.get(READY)
        assert (response.status_code, response.headers["retry-after"]) == (503, "5")
        if catalog.startswith("postgresql:") and change in {damage, rename}:  # a table that is missing
            checks = MISMATCH
        assert response.json() == {"status": "unavailable", "checks": checks}
        assert (client.get("/healthcheck").status_code, client.get("/healthcheck").json()) == (200, {"status": "alive"})
    assert [each.getMessage()[:11] for each in caplog.records if each.name == "app.api.readiness"] == ["Not ready: "]


class UnusableEngine(SQLiteEngine):
    """An engine that may not be used."""

    def version(self) -> Any:
        """Fail."""
        raise AssertionError

    def snapshot(self, **_: Any) -> Any:
        """Fail."""
        raise AssertionError


@sqlite_only
@pytest.mark.parametrize("auth", ["none", "token"])
def test_health_check_does_not_use_the_catalog(serve: Serve, catalog: str, auth: str) -> None:
    client = serve(catalog, auth=auth, overrides=Overrides(engine=UnusableEngine(Path(catalog))))
    response = client.get("/healthcheck")
    assert (response.json(), response.headers["cache-control"]) == ({"status": "alive"}, "no-store")
    assert client.head("/healthcheck").status_code == 200
    assert client.get(LIST_URL).status_code == 500


@sqlite_only
@pytest.mark.parametrize(
    ("engine", "reason"), [(LockedEngine, BUSY), (SlowEngine, UNAVAILABLE)], ids=["locked", "too slow"]
)
@pytest.mark.parametrize("always", [True, False])
def test_catalog_is_checked_in_a_thread(
    serve: Serve, catalog: str, engine: Callable[..., SQLiteEngine], reason: str, always: bool
) -> None:
    used = engine(Path(catalog), always=always)
    response = serve(catalog, overrides=Overrides(engine=used)).get(READY)
    assert response.json()["checks"] == (catalog_failure(reason) if always else {"catalog": OK, "migrations": OK})


class SlowAuthenticator(CatalogTokenAuthenticator):
    """An authenticator whose check takes until the test ends it."""

    def __init__(self, catalog: str) -> None:
        super().__init__(ReadExecutor(open_catalog(catalog), 10), "X-Auth-Token")
        self.started, self.ended = threading.Event(), threading.Event()
        self.is_available = False

    async def check(self) -> None:
        """Fail, once the test lets it."""
        self.started.set()
        await asyncio.to_thread(self.ended.wait)
        if not self.is_available:
            raise IdentityUnavailable("no route to host")


def test_unreachable_keystone_makes_only_new_tokens_wait_and_is_logged(
    serve: Serve, catalog: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    keystone = SlowAuthenticator(catalog)
    client = serve(catalog, auth="keystone", overrides=Overrides(authenticator=keystone))
    responses = []
    probe = threading.Thread(target=lambda: responses.append(client.get(READY)))
    probe.start()
    keystone.started.wait()
    assert client.get("/healthcheck").status_code == 200  # so the event loop does not wait
    keystone.ended.set()
    probe.join()
    keystone.is_available = True
    responses.append(client.get(READY))
    assert [each.status_code for each in responses] == [503, 200]
    reason = "The identity service is unavailable; try again later."
    checks = {"catalog": OK, "migrations": OK}
    assert [each.json()["checks"] for each in responses] == [
        checks | {"keystone": {"status": "failed", "reason": reason}},
        checks | {"keystone": OK},
    ]
    logged = [each.getMessage() for each in caplog.records if each.name == "app.api.readiness"]
    assert logged == ["Not ready: keystone: no route to host", "Ready again: keystone"]
