"""Changes of single images of a replica, and which changes a client that polls with changes-since sees."""

from collections.abc import Callable

import pytest

from app.catalog.engine import SchemaState
from app.catalog.errors import CatalogBusy
from app.catalog.models import Upstream
from app.catalog.replica import UpstreamMismatch, read_replica
from tests.support.catalogs import add_images
from tests.support.clock import FakeClock
from tests.support.images import Fields, image, image_id, stored_images
from tests.support.projects import OTHER_PROJECT, PROJECT
from tests.unit.catalog.conftest import OpenCatalog
from tests.unit.catalog.replicas import EARLIER, FAILURE, GLANCE, LATER, OTHER_GLANCE, Replica, stored_image

DAY = 86_400


def test_images_of_a_replica_are_read_by_id(replica: Replica) -> None:
    replica.sync(image(1), image(2), image(3, name="a"))
    replica.sync(image(1), image(3, name="a"))
    revision = replica.upstream().revision
    found = read_replica(replica.engine, GLANCE, [image_id(2), image_id(3), image_id(9)])
    assert found == (revision, {stored.id: stored for stored in replica.stored()[1:]})
    assert read_replica(replica.engine, GLANCE) == (revision, {})


def test_other_catalogs_are_not_read(replica: Replica, open_catalog: OpenCatalog) -> None:
    assert read_replica(replica.engine, GLANCE) is None
    assert replica.engine.schema_state() is SchemaState.EMPTY
    assert read_replica(add_images(open_catalog("other"), image(1)), GLANCE, [image_id(1)]) is None
    replica.sync(image(1))
    assert read_replica(replica.engine, OTHER_GLANCE, [image_id(1)]) is None


def test_missing_image_is_inserted(replica: Replica) -> None:
    replica.sync(image(1))
    private: Fields = {"name": "a", "owner": PROJECT, "visibility": "private"}
    replica.insert(2, **private)
    assert replica.stored()[1:] == stored_images(image(2, **private))


def test_images_and_tombstones_are_not_inserted_again(replica: Replica) -> None:
    replica.sync(image(1), image(2))
    replica.sync(image(1))
    before = replica.stored()
    replica.insert(1, name="a", updated=LATER)
    replica.insert(2, name="a", updated=LATER)
    assert replica.stored() == before


def test_update_preserves_visibility_and_members(replica: Replica) -> None:
    access: list[Fields] = [{"visibility": "shared", "members": [OTHER_PROJECT]}, {"visibility": "private"}]
    replica.sync(*(image(number, owner=PROJECT, **each) for number, each in enumerate(access, 1)))
    changed: Fields = {"owner": PROJECT, "metadata": {"a": "b"}, "updated": LATER}
    for number in (1, 2):
        replica.update(number, visibility="public", **changed)
    assert replica.stored() == stored_images(
        *(image(number, **each, **changed) for number, each in enumerate(access, 1))
    )


def test_update_does_not_overwrite_newer_revisions(replica: Replica, clock: FakeClock) -> None:
    replica.sync(image(1), image(2))
    before = replica.upstream()
    replica.sync(image(1, name="newer"), image(2))
    clock.advance(-3600)
    for number in (1, 2):
        replica.update(number, before, name="older", updated=LATER)
    assert [stored.name for stored in replica.stored()] == ["newer", "older"]


def test_update_does_not_restore_or_add_images(replica: Replica) -> None:
    replica.sync(image(1))
    replica.sync()
    before = replica.stored()
    replica.update(1, name="a", updated="2100-01-01T00:00:00Z")
    replica.update(2)
    assert replica.stored() == before


def test_deletion_is_applied_once(replica: Replica, clock: FakeClock) -> None:
    replica.sync(image(1), image(2))
    clock.advance()
    replica.delete(1)
    deleted_at = clock.now()
    clock.advance()
    replica.delete(1)
    replica.delete(9)
    assert replica.stored()[0] == stored_image(1, status="DELETED", progress=0, updated=deleted_at)
    assert replica.statuses() == {1: "DELETED", 2: "ACTIVE"}


def test_deletion_purges_tombstones(replica: Replica, clock: FakeClock) -> None:
    replica.sync(image(1), image(2))
    replica.sync(image(2))
    clock.advance(8 * DAY)
    replica.delete(2, tombstone_days=7)
    assert replica.statuses() == {2: "DELETED"}


OTHER_UPSTREAM = Upstream(OTHER_GLANCE, is_admin=False)


@pytest.mark.parametrize(
    "change",
    [
        lambda replica: replica.insert(2, url=OTHER_GLANCE),
        lambda replica: replica.update(1, OTHER_UPSTREAM, name="a"),
        lambda replica: replica.delete(1, url=OTHER_GLANCE),
    ],
    ids=["insert", "update", "delete"],
)
@pytest.mark.parametrize("is_replica", [True, False])
def test_changes_from_another_upstream_are_rejected(
    replica: Replica, change: Callable[[Replica], None], is_replica: bool
) -> None:
    if is_replica:
        replica.sync(image(1))
    else:
        add_images(replica.engine, image(1))
    message = f"^{replica.engine.name} is a replica of .*. A replica of {OTHER_GLANCE} needs a catalog of its own.$"
    with pytest.raises(UpstreamMismatch, match=message):
        change(replica)
    assert replica.stored() == stored_images(image(1))


@pytest.mark.parametrize(
    "change",
    [
        lambda replica: replica.insert(2, timeout=0.1),
        lambda replica: replica.update(1, name="a", timeout=0.1),
        lambda replica: replica.delete(1, timeout=0.1),
    ],
    ids=["insert", "update", "delete"],
)
def test_changes_wait_for_other_writers_until_the_timeout(replica: Replica, change: Callable[[Replica], None]) -> None:
    replica.sync(image(1))
    with replica.engine.transaction(timeout=1), pytest.raises(CatalogBusy):
        change(replica)


# --- changes-since ---


@pytest.mark.parametrize(
    "change",
    [
        lambda replica: replica.sync(image(1), image(2, name="new")),
        lambda replica: replica.sync(image(1)),
        lambda replica: replica.sync(image(1), failed={image_id(2): FAILURE}),
        lambda replica: replica.update(2, name="new"),
        lambda replica: replica.delete(2),
    ],
    ids=["change", "deletion", "failure", "update", "single deletion"],
)
def test_changes_are_listed_for_ten_more_seconds(
    replica: Replica, clock: FakeClock, change: Callable[[Replica], None]
) -> None:
    replica.sync(image(1), image(2))
    clock.advance(100)
    change(replica)
    found = [replica.changed_since(clock.now(offset=seconds)) for seconds in (-30, 0, 10, 11)]
    assert found == [[2], [2], [2], []]


def test_new_images_are_listed_as_changed_however_old_they_are(replica: Replica, clock: FakeClock) -> None:
    replica.sync(image(1))
    clock.advance(100)
    replica.sync(image(1), image(2))
    replica.insert(3)
    found = [replica.changed_since(clock.now(offset=seconds)) for seconds in (0, 10, 11)]
    assert found == [[2, 3], [2, 3], []]
    assert {stored.updated for stored in replica.stored()} == {"2020-01-01T00:00:00Z"}


def test_later_time_of_change_upstream_counts(replica: Replica, clock: FakeClock) -> None:
    replica.sync(image(1, updated=clock.now(offset=60)))
    found = [replica.changed_since(clock.now(offset=seconds)) for seconds in (58, 59, 60)]
    assert found == [[1], [1], []]


def test_unchanged_images_are_not_listed_again(replica: Replica, clock: FakeClock) -> None:
    replica.sync(image(1), image(2))
    clock.advance(100)
    replica.sync(image(1), image(2))
    assert replica.changed_since(clock.now()) == []


def test_imported_images_are_listed_by_their_own_time(replica: Replica) -> None:
    add_images(replica.engine, image(1, updated=EARLIER))
    assert [replica.changed_since(time) for time in (EARLIER, "2020-06-01T00:00:01Z")] == [[1], []]
