"""What a sync changes in a replica, and which catalogs can become replicas."""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from app.catalog.documents import load_sample
from app.catalog.engine import Engine, Transaction
from app.catalog.errors import CatalogUnavailable
from app.catalog.models import StoredImage, SyncCounts, Upstream, UpstreamSnapshot
from app.catalog.reader import CatalogReader
from app.catalog.replica import CatalogNotEmpty, UpstreamMismatch, apply_snapshot
from app.catalog.tokens import add_token, list_tokens
from app.catalog.transfer import ImportIntoReplica, ensure_catalog, import_images, preview_import
from tests.support.catalogs import add_images, stored_version
from tests.support.clock import FakeClock
from tests.support.images import Fields, image, image_id, stored_images
from tests.support.projects import OTHER_PROJECT, PROJECT
from tests.unit.catalog.conftest import OpenCatalog
from tests.unit.catalog.replicas import (
    EARLIER,
    FAILURE,
    GLANCE,
    LATER,
    OTHER_GLANCE,
    UNCHANGED,
    Replica,
    stored_image,
)

DAY = 86_400
FUTURE = "2100-01-01T00:00:00Z"
SAMPLE = [each.id for each in load_sample()]

# --- what a sync read ---


def test_sync_adds_changes_and_deletes_images(replica: Replica) -> None:
    assert replica.sync(image(1), image(2), image(3)) == SyncCounts(new=3, changed=0, deleted=0)
    shared = image(4, visibility="shared", owner=PROJECT, members=[OTHER_PROJECT])
    images = image(2), image(3, name="new", updated=LATER), shared
    assert replica.sync(*images) == SyncCounts(new=1, changed=1, deleted=1)
    assert replica.stored()[1:] == stored_images(*images)


def test_full_sync_deletes_images_that_it_did_not_meet(replica: Replica) -> None:
    replica.sync(image(1), image(2), image(3))
    assert replica.sync(image(1), failed={image_id(2): FAILURE}).deleted == 1
    assert replica.statuses() == {1: "ACTIVE", 2: "ACTIVE", 3: "DELETED"}


def test_incremental_sync_deletes_images_that_are_missing_upstream(replica: Replica) -> None:
    replica.sync(image(1), image(2), image(3))
    counts = replica.sync(image(4), deleted=[image_id(2), image_id(9)])
    assert counts == SyncCounts(new=1, changed=0, deleted=1)
    assert replica.statuses() == {1: "ACTIVE", 2: "DELETED", 3: "ACTIVE", 4: "ACTIVE"}


def test_deleted_image_becomes_a_tombstone_once(replica: Replica, clock: FakeClock) -> None:
    replica.sync(image(1, name="a", metadata={"b": "c"}))
    assert replica.sync() == SyncCounts(new=0, changed=0, deleted=1)
    tombstone = stored_image(1, name="a", metadata={"b": "c"}, status="DELETED", progress=0, updated=clock.now())
    assert replica.only() == tombstone
    assert [replica.sync(), replica.sync(deleted=[image_id(1)])] == [UNCHANGED] * 2
    assert replica.only() == tombstone


def test_deleted_image_can_return(replica: Replica, clock: FakeClock) -> None:
    replica.sync(image(1))
    replica.sync()
    deleted_at = clock.now()
    assert replica.sync(image(1)) == SyncCounts(new=0, changed=1, deleted=0)
    assert replica.only() == stored_image(1, updated=deleted_at)
    clock.advance(1000 * DAY)
    replica.sync(image(1), image(2))
    assert replica.statuses() == {1: "ACTIVE", 2: "ACTIVE"}


def test_tombstone_is_purged_by_the_first_sync_after_its_days(replica: Replica, clock: FakeClock) -> None:
    replica.sync(image(1))
    replica.sync(tombstone_days=7)
    clock.advance(7 * DAY - 2)
    replica.sync(tombstone_days=7)
    assert replica.statuses() == {1: "DELETED"}
    replica.sync(tombstone_days=7)
    assert replica.statuses() == {}


def test_sync_preserves_the_order_of_images_that_exist(replica: Replica) -> None:
    replica.sync(image(1), image(2), image(3))
    replica.sync(image(4), image(2, name="new"), image(1))
    assert list(replica.statuses()) == [1, 2, 3, 4]


@pytest.mark.parametrize("deleted", [None, ()], ids=["full", "incremental"])
def test_sync_without_changes_does_not_write(replica: Replica, deleted: Collection[str] | None) -> None:
    shared = image(2, visibility="shared", owner=PROJECT, members=[OTHER_PROJECT])
    images = image(1), shared, image(3, metadata={"a": "b"})
    replica.sync(*images, image(4), image(5))
    replica.sync(*images, failed={image_id(4): FAILURE})
    before = contents(replica.engine)
    failed = {image_id(4): FAILURE, image_id(5): FAILURE}
    assert replica.sync(*images, failed=failed, deleted=deleted) == UNCHANGED
    assert contents(replica.engine) == before


def contents(engine: Engine) -> object:
    """Return the version of the catalog, and all that a snapshot shows, revisions included."""
    with engine.open_snapshot() as snapshot:
        return stored_version(engine), snapshot.upstream(), snapshot.replicated_images(None)


@pytest.mark.parametrize("is_update", [False, True], ids=["sync", "update"])
@pytest.mark.parametrize(
    ("found", "stored"), [(EARLIER, LATER), (LATER, LATER), ("2022-01-01T00:00:00Z", "2022-01-01T00:00:00Z")]
)
def test_time_of_change_never_goes_back(replica: Replica, found: str, stored: str, is_update: bool) -> None:
    replica.sync(image(1, updated=LATER))
    if is_update:
        replica.update(1, name="new", updated=found)
    else:
        replica.sync(image(1, name="new", updated=found))
    assert replica.only() == stored_image(1, name="new", updated=stored)
    replica.update(1, name="newer", updated=EARLIER)
    assert replica.only() == stored_image(1, name="newer", updated=stored)


def test_time_of_change_never_goes_back_with_a_tombstone(replica: Replica) -> None:
    replica.sync(image(1, updated=FUTURE))
    replica.sync()
    assert replica.only().updated == FUTURE


def test_sync_is_applied_completely_or_not_at_all(replica: Replica, clock: FakeClock) -> None:
    replica.sync(image(1))
    images = [stored_image(2), replace(stored_image(3), created="not a time")]
    with pytest.raises(CatalogUnavailable):
        apply_snapshot(replica.engine, UpstreamSnapshot(replica.upstream(), images, deleted=None), tombstone_days=30)
    assert replica.statuses() == {1: "ACTIVE"}


# --- what was written since the sync began ---


def test_newer_changes_are_not_overwritten(replica: Replica) -> None:
    replica.sync(image(1), image(2), image(3), image(4, metadata={"a": "1"}))

    def write() -> None:
        replica.update(1, name="newer", updated=LATER)
        replica.delete(2)
        replica.update(3, name="newer", updated=LATER)
        replica.update(4, metadata={"a": "2"}, updated=LATER)
        replica.insert(5)
        replica.insert(6)

    images = image(1), image(2), image(6, name="older")
    assert replica.sync(*images, failed={image_id(4): FAILURE}, meanwhile=write) == UNCHANGED
    assert replica.statuses() == {1: "ACTIVE", 2: "DELETED", 3: "ACTIVE", 4: "ACTIVE", 5: "ACTIVE", 6: "ACTIVE"}
    assert [each.name for each in replica.stored()] == ["newer", None, "newer", None, None, None]
    assert replica.stored()[3].metadata == '{"a":"2"}'


@pytest.mark.parametrize("seconds", [-3600, 0, 3600])
def test_clock_that_is_set_does_not_change_what_is_newer(replica: Replica, clock: FakeClock, seconds: float) -> None:
    def write() -> None:
        clock.advance(seconds)
        replica.update(1, name="newer")
        replica.delete(2)

    replica.sync(image(1), image(2))
    assert replica.sync(image(1, name="older"), image(2), meanwhile=write) == UNCHANGED
    clock.advance(-seconds)
    assert replica.sync(image(1, name="newest"), image(2)) == SyncCounts(new=0, changed=2, deleted=0)
    assert [(each.name, each.status) for each in replica.stored()] == [("newest", "ACTIVE"), (None, "ACTIVE")]


def test_next_sync_overwrites_them(replica: Replica) -> None:
    replica.sync(image(1), image(2))
    replica.sync(image(1), image(2), meanwhile=lambda: replica.delete(2))
    assert replica.sync(image(2)) == SyncCounts(new=0, changed=1, deleted=1)
    assert replica.statuses() == {1: "DELETED", 2: "ACTIVE"}


def test_each_change_is_a_revision(replica: Replica) -> None:
    changes: list[Callable[[], object]] = [
        lambda: replica.sync(image(1)),
        lambda: replica.sync(image(1), image(2), image(3)),
        lambda: replica.sync(image(1, name="a"), image(2), image(3)),
        lambda: replica.sync(image(1, name="a"), image(2)),
        lambda: replica.sync(image(1, name="a"), failed={image_id(2): FAILURE}),
        lambda: replica.insert(4),
        lambda: replica.update(1, name="b"),
        lambda: replica.delete(4),
    ]
    revisions = []
    for change in changes:
        change()
        revisions.append(replica.upstream().revision)
    assert revisions == [1, 2, 3, 4, 5, 6, 7, 8]


def test_start_of_the_last_sync_that_changed_something_is_stored(replica: Replica, clock: FakeClock) -> None:
    ages = []
    for images in ([], [image(1)], [image(1)], [image(1, name="a")], [], []):
        replica.sync(*images, meanwhile=clock.advance)
        ages.append(clock.time() - 1 - replica.upstream().synced_at)
    assert ages == [0, 0, 2, 0, 0, 2]


# --- what the catalog was before ---


def test_first_sync_makes_a_catalog_a_replica(replica: Replica, open_catalog: OpenCatalog) -> None:
    assert replica.sync() == UNCHANGED
    assert replica.upstream().url == GLANCE
    assert CatalogReader(add_images(open_catalog("other"))).upstream() is None


def create_sample(engine: Engine) -> None:
    ensure_catalog(engine, load_sample, tombstone_days=30)


@pytest.mark.parametrize("is_changed", [False, True])
def test_sample_is_replaced(replica: Replica, is_changed: bool) -> None:
    create_sample(replica.engine)
    if is_changed:
        import_images(replica.engine, [replace(load_sample()[0], name="changed")], tombstone_days=30)
    assert replica.sync(image(1), sample_ids=SAMPLE) == SyncCounts(new=1, changed=0, deleted=0)
    assert replica.stored() == stored_images(image(1))
    assert replica.changed_since("2000-01-01T00:00:00Z") == [1]


@pytest.mark.parametrize("updated", [EARLIER, FUTURE])
def test_tombstones_are_replaced(replica: Replica, updated: str) -> None:
    add_images(replica.engine, *(image(number, status="DELETED", updated=updated) for number in (1, 2)))
    replica.sync(image(2), sample_ids=SAMPLE)
    assert replica.stored() == stored_images(image(2))


def test_tokens_are_preserved(replica: Replica) -> None:
    create_sample(replica.engine)
    add_token(replica.engine, PROJECT, is_admin=False, expires=None)
    replica.sync(sample_ids=SAMPLE)
    assert [token.project_id for token in list_tokens(replica.engine)] == [PROJECT]


def test_catalog_with_imported_images_is_rejected(replica: Replica) -> None:
    create_sample(replica.engine)
    add_images(replica.engine, image(1))
    before = replica.stored()
    message = f"^{replica.engine.name} has imported images. A replica needs a catalog of its own.$"
    with pytest.raises(CatalogNotEmpty, match=message):
        replica.sync(image(2), sample_ids=SAMPLE)
    assert replica.stored() == before
    assert CatalogReader(replica.engine).upstream() is None


def test_replica_of_another_upstream_is_rejected(replica: Replica) -> None:
    replica.sync(image(1))
    message = f"^{replica.engine.name} is a replica of {GLANCE}. A replica of {OTHER_GLANCE} needs a catalog of its"
    with pytest.raises(UpstreamMismatch, match=message):
        replica.sync(image(2), url=OTHER_GLANCE)
    assert replica.upstream().url == GLANCE
    assert replica.stored() == stored_images(image(1))


def test_replica_with_wider_access_is_rejected(replica: Replica) -> None:
    replica.sync(image(1), image(2), is_admin=True)
    message = f"is a replica of {GLANCE} as seen by an administrator. A replica of {GLANCE} needs"
    with pytest.raises(UpstreamMismatch, match=message):
        replica.sync(image(1))
    assert replica.upstream().is_admin
    assert replica.stored() == stored_images(image(1), image(2))
    assert replica.sync(image(1), is_admin=True) == SyncCounts(new=0, changed=0, deleted=1)


def test_administrator_can_continue_a_replica_with_narrower_access(replica: Replica) -> None:
    replica.sync(image(1))
    assert replica.sync(image(1), image(2), is_admin=True) == SyncCounts(new=1, changed=0, deleted=0)
    assert replica.upstream().is_admin
    with pytest.raises(UpstreamMismatch):
        replica.sync(image(1))


def test_failed_first_sync_preserves_the_sample(replica: Replica) -> None:
    create_sample(replica.engine)
    snapshot = UpstreamSnapshot(Upstream(GLANCE, is_admin=False), [replace(stored_image(1), created="not a time")])
    with pytest.raises(CatalogUnavailable):
        apply_snapshot(replica.engine, snapshot, sample_ids=SAMPLE, tombstone_days=30)
    assert [each.id for each in replica.stored()] == SAMPLE
    assert CatalogReader(replica.engine).upstream() is None


def test_readers_see_the_sample_until_the_first_sync_is_committed(replica: Replica) -> None:
    create_sample(replica.engine)
    engine, seen = replica.engine, list[object]()

    class Observed:
        """An engine whose readers look at the catalog just before a transaction ends."""

        name = engine.name

        @contextmanager
        def transaction(self, *, timeout: float) -> Iterator[Transaction]:
            with engine.transaction(timeout=timeout) as transaction:
                yield transaction
                assert transaction.upstream()
                seen.extend([[each.id for each in replica.stored()], CatalogReader(engine).upstream()])

    snapshot = UpstreamSnapshot(Upstream(GLANCE, is_admin=False), stored_images(image(1)))
    apply_snapshot(Observed(), snapshot, sample_ids=SAMPLE, tombstone_days=30)  # type: ignore[arg-type]
    assert seen == [SAMPLE, None]
    assert replica.stored() == stored_images(image(1))


@pytest.mark.parametrize("prune", [False, True])
def test_import_into_a_replica_is_rejected(replica: Replica, prune: bool) -> None:
    replica.sync(image(1))
    before = contents(replica.engine)
    message = f"^{replica.engine.name} is a replica of {GLANCE}. Import into another catalog.$"
    with pytest.raises(ImportIntoReplica, match=message):
        import_images(replica.engine, stored_images(image(2)), prune=prune, tombstone_days=30)
    with pytest.raises(ImportIntoReplica, match=message):
        preview_import(replica.engine, stored_images(image(2)), prune=prune)
    assert contents(replica.engine) == before


@pytest.mark.parametrize("images", [[], [image(1)]])
def test_sample_is_not_added_to_a_replica(replica: Replica, images: list[Fields]) -> None:
    def load_sample_too_late() -> list[StoredImage]:
        replica.sync(*images)
        return load_sample()

    assert ensure_catalog(replica.engine, load_sample_too_late, tombstone_days=30) == 0
    assert replica.stored() == stored_images(*images)
    assert ensure_catalog(replica.engine, load_sample, tombstone_days=30) == 0
    assert replica.stored() == stored_images(*images)
