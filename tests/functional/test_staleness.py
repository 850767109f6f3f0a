"""Stale replicas: responses have status 203 and state the replica's age, and so does the readiness check."""

import asyncio
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from prometheus_client.registry import CollectorRegistry
from starlette.testclient import TestClient

from app.catalog.engine import Engine
from app.catalog.engines import open_catalog
from app.catalog.executor import ReadExecutor
from app.catalog.models import SyncStatus, Upstream, UpstreamSnapshot, Version
from app.catalog.replica import apply_snapshot
from app.catalog.status import describe_catalog
from app.metrics.catalog import CatalogCollector
from app.mirror.staleness import StalenessMonitor
from app.overrides import Overrides
from tests.conftest import Serve
from tests.support.catalogs import remove_catalog, sqlite_only
from tests.support.clock import FakeClock
from tests.support.counting_store import CountingStore
from tests.support.images import catalog_at, image, image_id, stored_images
from tests.support.projects import LIST_URL
from tests.unit.catalog.sqlite.earlier_catalogs import earlier_catalog

SYNCED_AT = 1767225600.0  # the start of the clock: the last successful sync
SYNCED_AT_AS_DATE = "Thu, 01 Jan 2026 00:00:00 GMT"
TIMEOUT = "A timeout occurred at the image service"
PROBLEMS = {"failed": 0, "incomplete": 0, "problems": []}  # in the readiness check
ONE = f"/v2/openstack/images/{image_id(1)}"
READS = {
    "list": "/v2/openstack/images",
    "details": LIST_URL,
    "page": f"{LIST_URL}?limit=1",
    "no images": f"{LIST_URL}?name=none",
    "image": ONE,
    "bookmark": f"/openstack/images/{image_id(1)}",
    "metadata": f"{ONE}/metadata",
    "item": f"{ONE}/metadata/a",
}
IMAGES = image(1, metadata={"a": "b"}), image(2)

each_read = pytest.mark.parametrize("url", READS.values(), ids=READS)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def sync(engine: Engine, synced_at: float = SYNCED_AT) -> None:
    """Make the catalog a replica that was synced at a time, without writing the sync status."""
    upstream = Upstream("http://glance.test", is_admin=False, synced_at=synced_at)
    apply_snapshot(engine, UpstreamSnapshot(upstream, stored_images(*IMAGES), deleted=None), tombstone_days=30)


@pytest.fixture
def engine(location: str) -> Engine:
    """Create a replica that is synced at the start of the clock."""
    engine = open_catalog(location)
    sync(engine)
    engine.write_sync_status(SyncStatus(synced_at=SYNCED_AT))
    return engine


@pytest.fixture
def replica(engine: Engine, location: str) -> str:
    return location


class Get(NamedTuple):
    """Reads the list, and observes the response cache."""

    store: CountingStore

    def __call__(self, client: TestClient) -> tuple[int, bool]:
        """Return the status, and whether the response came from the cache."""
        hits = self.store.stats().hits
        return client.get(LIST_URL).status_code, self.store.stats().hits > hits


@pytest.fixture
def get() -> Get:
    return Get(CountingStore(1_000_000))


@pytest.fixture
def client(serve: Serve, replica: str, clock: FakeClock, get: Get) -> TestClient:
    return serve(replica, stale_after=60, overrides=Overrides(clock=clock, responses=get.store))


def mirror(client: TestClient) -> Any:
    """Return what the readiness check shows of the mirror, None for a catalog that is not a replica."""
    return client.get("/healthcheck/ready").json()["checks"].get("mirror")


# --- 203 ---


@each_read
def test_status_is_203_once_the_replica_is_stale(client: TestClient, clock: FakeClock, url: str) -> None:
    statuses = []
    for seconds in (0, 59.75, 0.249, 0.001, 0.001, 1e6):
        clock.advance(seconds)
        statuses.append(client.get(url).status_code)
    assert statuses == [200, 200, 200, 203, 203, 203]


@each_read
def test_stale_response_has_the_same_body_and_states_the_time_of_the_sync(
    client: TestClient, clock: FakeClock, url: str
) -> None:
    fresh = client.get(url)
    clock.advance(60)
    stale = client.get(url)
    assert stale.content == fresh.content
    assert (stale.headers["Last-Modified"], stale.headers["Cache-Control"]) == (SYNCED_AT_AS_DATE, "no-store")
    assert "ETag" not in stale.headers
    assert "Last-Modified" not in fresh.headers


@each_read
def test_head_of_a_stale_replica_has_the_headers_of_get(client: TestClient, clock: FakeClock, url: str) -> None:
    clock.advance(60)
    get, head = client.get(url), client.head(url)
    assert (head.status_code, head.content) == (203, b"")
    for response in (get, head):
        for name in ("x-compute-request-id", "x-openstack-request-id"):
            del response.headers[name]
    assert head.headers == get.headers


def test_replica_is_stale_after_five_minutes_by_default(serve: Serve, replica: str, clock: FakeClock) -> None:
    client = serve(replica, overrides=Overrides(clock=clock))
    clock.advance(299.999)
    assert client.get(LIST_URL).status_code == 200
    clock.advance(0.001)
    assert client.get(LIST_URL).status_code == 203


@pytest.mark.parametrize("settings", [{"stale_after": 0}, {"stale_status": "200"}], ids=str)
def test_staleness_can_be_ignored(
    serve: Serve, replica: str, clock: FakeClock, settings: dict[str, Any], get: Get
) -> None:
    client = serve(replica, overrides=Overrides(clock=clock, responses=get.store), **settings)
    clock.advance(1e9)
    response = client.get(LIST_URL)
    assert (response.status_code, "ETag" in response.headers, "Last-Modified" in response.headers) == (200, True, False)
    assert get(client) == (200, True)


@pytest.mark.parametrize("status", [None, SyncStatus(synced_at=1.0)], ids=["no status", "old status"])
def test_catalog_that_is_no_replica_is_never_stale(
    serve: Serve, location: str, status: SyncStatus | None, get: Get
) -> None:
    catalog = catalog_at(location, *IMAGES)
    if status is not None:
        open_catalog(catalog).write_sync_status(status)
    client = serve(catalog, stale_after=1, overrides=Overrides(responses=get.store))
    assert [get(client) for _ in range(2)] == [(200, False), (200, True)]
    assert mirror(client) is None


def test_catalog_that_becomes_a_replica_can_be_stale_at_once(
    serve: Serve, location: str, clock: FakeClock, get: Get
) -> None:
    catalog = catalog_at(location)
    client, engine = (
        serve(catalog, stale_after=60, overrides=Overrides(clock=clock, responses=get.store)),
        open_catalog(catalog),
    )
    assert [get(client), get(client)] == [(200, False), (200, True)]
    sync(engine, SYNCED_AT - 60)
    assert get(client) == (203, False)
    engine.write_sync_status(SyncStatus(synced_at=SYNCED_AT))
    assert get(client) == (200, False)


@pytest.mark.parametrize(
    ("url", "status"),
    [
        *((path, 200) for path in ("/", "/v2", "/v2/", "/healthcheck", "/openapi.json")),
        (f"/v2/openstack/images/{image_id(9)}", 404),
        (f"{ONE}/metadata/z", 404),
        (f"{LIST_URL}?marker={image_id(9)}", 400),
        ("/nowhere", 404),
    ],
)
def test_other_responses_do_not_depend_on_staleness(
    client: TestClient, clock: FakeClock, url: str, status: int
) -> None:
    clock.advance(60)
    response = client.get(url)
    assert (response.status_code, "Last-Modified" in response.headers) == (status, False)


def test_unreadable_replica_is_unavailable_and_not_stale(client: TestClient, replica: str, clock: FakeClock) -> None:
    clock.advance(60)
    remove_catalog(replica)
    assert client.get(LIST_URL).status_code == 503


# --- the response cache ---


def test_stored_response_is_used_until_the_replica_is_stale(client: TestClient, clock: FakeClock, get: Get) -> None:
    assert [get(client), get(client)] == [(200, False), (200, True)]
    clock.advance(59.999)
    assert get(client) == (200, True)
    clock.advance(0.001)
    assert [get(client), get(client)] == [(203, False), (203, False)]


def test_stored_response_is_used_again_after_a_sync_without_changes(
    client: TestClient, engine: Engine, clock: FakeClock, get: Get
) -> None:
    etag = client.get(LIST_URL).headers["ETag"]
    clock.advance(60)
    assert get(client) == (203, False)
    sync(engine)
    engine.write_sync_status(SyncStatus(synced_at=clock.time()))
    assert get(client) == (200, True)
    assert client.get(LIST_URL, headers={"If-None-Match": etag}).status_code == 304
    clock.advance(60)
    assert get(client) == (203, False)


def test_stale_response_is_complete_despite_a_matching_etag_and_is_not_stored(
    client: TestClient, clock: FakeClock, get: Get
) -> None:
    fresh = client.get(LIST_URL)
    clock.advance(60)
    before = get.store.stats()
    stale = client.get(LIST_URL, headers={"If-None-Match": fresh.headers["ETag"]})
    assert (stale.status_code, stale.content) == (203, fresh.content)
    assert get.store.stats() == before


# --- the sync status ---


@sqlite_only
def test_replica_with_a_damaged_sync_status_is_as_old_as_its_last_change(
    client: TestClient, engine: Engine, replica: str, clock: FakeClock
) -> None:
    engine.write_sync_status(SyncStatus(synced_at=SYNCED_AT + 30))
    Path(f"{replica}.mirror").write_bytes(b"")
    clock.advance(59.999)
    assert client.get(LIST_URL).status_code == 200
    clock.advance(0.001)
    assert client.get(LIST_URL).status_code == 203
    assert mirror(client) == PROBLEMS | {"status": "warning", "age": 60, "error": None}


def test_replica_without_a_known_sync_is_as_old_as_its_last_change(
    client: TestClient, engine: Engine, clock: FakeClock
) -> None:
    engine.write_sync_status(SyncStatus(error=TIMEOUT))
    clock.advance(60)
    response = client.get(LIST_URL)
    assert (response.status_code, response.headers["Last-Modified"]) == (203, SYNCED_AT_AS_DATE)


def test_age_of_a_replica_without_a_sync_status_is_the_same_everywhere(serve: Serve, tmp_path: Path) -> None:
    engine, clock = open_catalog(earlier_catalog(tmp_path, "7-replica")), FakeClock()
    with engine.transaction(timeout=1) as transaction:  # upgrades it
        upstream = transaction.upstream()
    assert upstream
    clock.advance(upstream.synced_at + 4000.5 - clock.time())
    client = serve(engine.name, overrides=Overrides(clock=clock))
    response = client.get(LIST_URL)
    registry = CollectorRegistry()
    registry.register(CatalogCollector(engine, clock))
    assert (response.status_code, response.headers["Last-Modified"]) == (203, "Wed, 25 Nov 2026 11:59:59 GMT")
    assert mirror(client)["age"] == describe_catalog(engine, clock=clock)["mirror"]["age"] == 4000
    assert registry.get_sample_value("compute_images_mirror_age_seconds") == 4000.5


def test_monitor_is_fresh_while_the_replica_is_readable_and_not_stale(
    engine: Engine, replica: str, clock: FakeClock
) -> None:
    monitor = StalenessMonitor(ReadExecutor(engine, 10), 60, clock=clock)

    def is_fresh(version: Version | None) -> list[bool]:
        before = monitor.is_fresh(version)
        asyncio.run(monitor.refresh(version))
        return [before, monitor.is_fresh(version)]

    assert is_fresh(1) == [False, True]
    assert is_fresh(1) == [True, True]
    clock.advance(60)
    assert is_fresh(1) == [False, False]
    engine.write_sync_status(SyncStatus(synced_at=SYNCED_AT + 1))
    assert is_fresh(1) == [False, True]
    remove_catalog(replica)
    assert [is_fresh(None), is_fresh(2)] == [[False, False]] * 2


# --- the readiness check ---


@pytest.mark.parametrize(
    ("seconds", "age", "status"),
    [
        *((0, 0, "ok"), (0.999, 0, "ok"), (1, 1, "ok"), (59.999, 59, "ok"), (-5, 0, "ok")),
        *((60, 60, "warning"), (1e6, 1_000_000, "warning")),
    ],
)
def test_readiness_shows_the_age_of_the_replica_in_seconds(
    client: TestClient, clock: FakeClock, seconds: float, age: int, status: str
) -> None:
    clock.advance(seconds)
    assert mirror(client) == PROBLEMS | {"status": status, "age": age, "error": None}


def test_age_is_no_warning_if_replicas_are_never_stale(serve: Serve, replica: str, clock: FakeClock) -> None:
    client = serve(replica, stale_after=0, overrides=Overrides(clock=clock))
    clock.advance(1e6)
    assert mirror(client)["status"] == "ok"


def test_readiness_shows_the_error_of_the_last_sync(client: TestClient, engine: Engine) -> None:
    for synced_at, age in ((SYNCED_AT - 7, 7), (None, 0)):
        engine.write_sync_status(SyncStatus(synced_at=synced_at, error=TIMEOUT))
        assert mirror(client) == PROBLEMS | {"status": "warning", "age": age, "error": TIMEOUT}


def test_readiness_shows_which_images_have_problems_without_authentication(
    serve: Serve, client: TestClient, engine: Engine, replica: str, clock: FakeClock
) -> None:
    failed, incomplete = {str(number): "failed" for number in range(200)}, {"x": "incomplete"}
    counts = {"status": "warning", "age": 0, "error": None, "failed": 2, "incomplete": 1}
    engine.write_sync_status(SyncStatus(SYNCED_AT, failed={"a": "b", "c": "d"}, incomplete={"e": "f"}))
    problems = [{"id": "a", "problem": "b"}, {"id": "c", "problem": "d"}, {"id": "e", "problem": "f"}]
    assert mirror(client) == counts | {"problems": problems}
    assert mirror(serve(replica, auth="token", overrides=Overrides(clock=clock))) == counts
    engine.write_sync_status(SyncStatus(failed=failed, incomplete=incomplete))
    assert len(mirror(client)["problems"]) == 100
