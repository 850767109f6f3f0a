"""Changes of single images: who may make them, when tombstones are purged, and concurrent writers."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import orjson
import pytest

from app.catalog.editor import MAX_METADATA_ITEMS, ImageEditor, check_metadata_quota
from app.catalog.engine import Engine
from app.catalog.errors import CatalogBusy
from app.catalog.models import Metadata, Upstream, UpstreamSnapshot
from app.catalog.replica import apply_snapshot
from app.catalog.transfer import import_images
from app.context import Caller, RequestContext
from app.errors import ImageNotFound, MetadataQuotaExceeded, NotImageOwner, ReplicaReadOnly
from tests.support.catalogs import add_images, exported, exported_numbers, listed
from tests.support.clock import FakeClock
from tests.support.images import image, image_id, stored_images
from tests.support.projects import OTHER_PROJECT, PROJECT

DAY = 86_400
MEMBER = RequestContext("", authenticated=Caller(PROJECT, is_admin=False))
ADMIN = RequestContext("", authenticated=Caller(PROJECT, is_admin=True))


@pytest.fixture
def editor(engine: Engine, clock: FakeClock) -> ImageEditor:
    return ImageEditor(engine, tombstone_days=30, timeout=0.1, clock=clock)


def touch(editor: ImageEditor, number: int = 9) -> None:
    editor.edit_metadata(ADMIN, PROJECT, image_id(number), lambda metadata: metadata)


@pytest.mark.parametrize(
    ("fields", "context", "error"),
    [
        ({"owner": PROJECT}, MEMBER, None),
        ({"owner": PROJECT}, ADMIN, None),
        ({}, ADMIN, None),
        ({}, MEMBER, NotImageOwner),
        ({"owner": OTHER_PROJECT}, ADMIN, NotImageOwner),
        ({"owner": OTHER_PROJECT, "visibility": "private"}, ADMIN, ImageNotFound),
        ({"owner": PROJECT, "status": "DELETED"}, MEMBER, ImageNotFound),
        ({"owner": PROJECT, "os_hidden": True}, MEMBER, None),
        ({"owner": OTHER_PROJECT, "visibility": "shared", "pending_members": [PROJECT]}, MEMBER, NotImageOwner),
    ],
)
def test_projects_change_their_own_images_and_administrators_those_without_an_owner(
    engine: Engine,
    editor: ImageEditor,
    fields: dict[str, str],
    context: RequestContext,
    error: type[Exception] | None,
) -> None:
    add_images(engine, image(1, **fields))
    before = exported(engine)
    if error:
        with pytest.raises(error):
            editor.edit_metadata(context, PROJECT, image_id(1), lambda _: {"a": "b"})
        with pytest.raises(error):
            editor.delete(context, PROJECT, image_id(1))
        assert exported(engine) == before
    else:
        assert editor.edit_metadata(context, PROJECT, image_id(1), lambda _: {"a": "b"}) == {"a": "b"}
        editor.delete(context, PROJECT, image_id(1))
        (tombstone,) = exported(engine)
        assert (tombstone.status, tombstone.progress, tombstone.metadata) == ("DELETED", 0, '{"a":"b"}')


def test_images_of_a_replica_are_read_only(engine: Engine, editor: ImageEditor) -> None:
    upstream = Upstream("http://glance.test", is_admin=False)
    apply_snapshot(engine, UpstreamSnapshot(upstream, stored_images(image(1, owner=PROJECT))), tombstone_days=30)
    with pytest.raises(ReplicaReadOnly):
        editor.delete(MEMBER, PROJECT, image_id(1))
    (stored,) = exported(engine)
    found, found_upstream = editor.get_editable_image(MEMBER, PROJECT, image_id(1))
    assert found == stored
    assert found_upstream
    assert found_upstream.url == upstream.url


@pytest.mark.parametrize(
    ("before", "after", "is_accepted"),
    [
        (0, MAX_METADATA_ITEMS, True),
        (0, MAX_METADATA_ITEMS + 1, False),
        (MAX_METADATA_ITEMS + 9, MAX_METADATA_ITEMS + 9, True),
        (MAX_METADATA_ITEMS + 9, MAX_METADATA_ITEMS + 1, True),
    ],
)
def test_metadata_quota_limits_additions(before: int, after: int, is_accepted: bool) -> None:
    items: list[Metadata] = [{str(number): "" for number in range(count)} for count in (before, after)]
    if is_accepted:
        check_metadata_quota(*items)
    else:
        with pytest.raises(MetadataQuotaExceeded):
            check_metadata_quota(*items)


def test_failed_edit_changes_nothing(engine: Engine, editor: ImageEditor) -> None:
    before = exported(add_images(engine, image(9)))
    with pytest.raises(ZeroDivisionError):
        editor.edit_metadata(ADMIN, PROJECT, image_id(9), lambda _: {str(1 // 0): ""})
    assert exported(engine) == before


def test_tombstone_is_purged_by_the_first_change_after_its_days(
    engine: Engine, editor: ImageEditor, clock: FakeClock
) -> None:
    add_images(engine, image(1), image(2), image(9))
    editor.delete(ADMIN, PROJECT, image_id(1))
    clock.advance(30 * DAY - 1)
    touch(editor)
    assert exported_numbers(engine) == [1, 2, 9]
    clock.advance(1)
    assert exported_numbers(engine) == [1, 2, 9]
    touch(editor)
    assert exported_numbers(engine) == [2, 9]
    assert listed(engine, changes_since="0001-01-01T00:00:00Z") == [2, 9]


def test_imported_tombstone_is_never_purged(engine: Engine, editor: ImageEditor, clock: FakeClock) -> None:
    add_images(engine, image(1, status="DELETED"), image(9))
    clock.advance(1000 * DAY)
    touch(editor)
    assert exported_numbers(engine) == [1, 9]


def test_restored_image_is_not_purged(engine: Engine, editor: ImageEditor, clock: FakeClock) -> None:
    add_images(engine, image(1), image(9))
    editor.delete(ADMIN, PROJECT, image_id(1))
    add_images(engine, image(1))
    clock.advance(1000 * DAY)
    touch(editor)
    assert exported_numbers(engine) == [1, 9]


def test_concurrent_changes_are_all_made(engine: Engine) -> None:
    add_images(engine, image(9))
    editor = ImageEditor(engine, tombstone_days=30)

    def add(number: int) -> None:
        editor.edit_metadata(ADMIN, PROJECT, image_id(9), lambda metadata: metadata | {str(number): ""})

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(add, range(40)))
    (changed,) = exported(engine)
    assert len(orjson.loads(changed.metadata)) == 40


def test_time_of_change_never_goes_back(engine: Engine, editor: ImageEditor, clock: FakeClock) -> None:
    future = "2100-01-01T00:00:00Z"
    add_images(engine, image(1, updated=future), image(2), image(8), image(9, updated=future))
    editor.delete(ADMIN, PROJECT, image_id(1))
    editor.delete(ADMIN, PROJECT, image_id(2))
    touch(editor, 8)
    touch(editor, 9)
    assert [image.updated for image in exported(engine)] == [future, clock.now(), clock.now(), future]


def test_rejected_change_does_not_wait_for_other_writers(engine: Engine, editor: ImageEditor) -> None:
    add_images(engine, image(1, owner=OTHER_PROJECT))
    with engine.transaction(timeout=1):
        with pytest.raises(ImageNotFound):
            editor.delete(ADMIN, PROJECT, image_id(99))
        with pytest.raises(NotImageOwner):
            editor.delete(ADMIN, PROJECT, image_id(1))


def test_change_waits_for_other_writers_until_the_timeout(engine: Engine, editor: ImageEditor) -> None:
    add_images(engine, image(1))
    with engine.transaction(timeout=1), pytest.raises(CatalogBusy):
        editor.delete(ADMIN, PROJECT, image_id(1))
    assert listed(engine) == [1]


def test_ownership_is_checked_within_the_transaction(engine: Engine, clock: FakeClock) -> None:
    add_images(engine, image(1, owner=PROJECT))

    class Overtaken:
        """An engine whose image gets another owner just before a transaction begins."""

        snapshot = engine.snapshot

        @contextmanager
        def transaction(self, *, timeout: float) -> Iterator[object]:
            import_images(engine, stored_images(image(1, owner=OTHER_PROJECT)), tombstone_days=30)
            with engine.transaction(timeout=timeout) as transaction:
                yield transaction

    editor = ImageEditor(Overtaken(), tombstone_days=30, clock=clock)  # type: ignore[arg-type]
    with pytest.raises(NotImageOwner):
        editor.delete(MEMBER, PROJECT, image_id(1))
    assert listed(engine) == [1]
