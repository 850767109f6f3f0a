"""Import, export, and the creation of a catalog."""

import multiprocessing
from dataclasses import replace
from multiprocessing.synchronize import Barrier
from typing import TYPE_CHECKING

import orjson
import pytest

from app.catalog.documents import dump_images
from app.catalog.engine import Engine, SchemaState
from app.catalog.errors import CatalogUnavailable
from app.catalog.models import ImportResult, StoredImage
from app.catalog.transfer import ensure_catalog, export_images, import_images
from tests.support.catalogs import add_images, exported, exported_numbers, listed, read_list
from tests.support.clock import FakeClock
from tests.support.images import Fields, image, image_id, image_number, stored_images
from tests.support.projects import OTHER_PROJECT, PROJECT, THIRD_PROJECT
from tests.unit.catalog.conftest import OpenCatalog
from tests.unit.catalog.test_reader import IMAGES

if TYPE_CHECKING:
    from multiprocessing.queues import Queue

PROJECTS = (PROJECT, OTHER_PROJECT, THIRD_PROJECT)


def test_repeated_import_changes_nothing(engine: Engine) -> None:
    add_images(engine, *IMAGES)
    result = import_images(engine, stored_images(*IMAGES), tombstone_days=30)
    assert result == ImportResult(unchanged=len(IMAGES))


def test_import_counts_images(engine: Engine) -> None:
    add_images(engine, image(1), image(2), image(3))
    images = stored_images(image(1), image(2, name="new"), image(4), image(5))
    result = import_images(engine, images, prune=True, tombstone_days=30)
    assert result == ImportResult(new=2, changed=1, unchanged=1, pruned=1)


def test_import_preserves_the_order_of_images_that_exist(engine: Engine) -> None:
    add_images(engine, image(1), image(2), image(3))
    add_images(engine, image(4), image(2, name="new"), image(1))
    assert listed(engine) == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "change",
    [
        {"members": [OTHER_PROJECT]},
        {"members": [PROJECT, OTHER_PROJECT, THIRD_PROJECT]},
        {"members": []},
        {"visibility": "private", "members": []},
        {"os_hidden": True, "members": []},
        {"pending_members": [PROJECT], "members": []},
    ],
)
def test_import_changes_which_members_list_an_image(engine: Engine, change: Fields) -> None:
    shared = image(1, visibility="shared", members=[PROJECT])
    add_images(engine, shared)
    result = import_images(engine, stored_images(shared | change), tombstone_days=30)
    assert result == ImportResult(changed=1)
    expected = [each for each in PROJECTS if each in change["members"]]
    assert [each for each in PROJECTS if listed(engine, each)] == expected


def test_pruned_images_become_tombstones(engine: Engine, clock: FakeClock) -> None:
    add_images(engine, image(1), image(2))
    import_images(engine, stored_images(image(1)), prune=True, tombstone_days=30, clock=clock)
    assert listed(engine) == [1]
    (tombstone,) = read_list(engine, changes_since=clock.now())
    assert (tombstone.id, tombstone.status, tombstone.progress) == (image_id(2), "DELETED", 0)
    assert tombstone.updated == clock.now()


@pytest.mark.parametrize(
    ("owner", "expected"), [(None, [2, 3]), (PROJECT, [1, 3]), (OTHER_PROJECT, [1, 2]), (THIRD_PROJECT, [1, 2, 3])]
)
def test_only_images_of_the_same_owner_are_pruned(engine: Engine, owner: str | None, expected: list[int]) -> None:
    add_images(engine, image(1), image(2, owner=PROJECT), image(3, owner=OTHER_PROJECT))
    import_images(engine, [], owner=owner, prune=True, tombstone_days=30)
    assert listed(engine) == expected


def test_tombstones_are_not_pruned(engine: Engine) -> None:
    add_images(engine, image(1, status="DELETED", progress=0))
    assert import_images(engine, [], prune=True, tombstone_days=30) == ImportResult()


def test_import_can_restore_a_deleted_image(engine: Engine) -> None:
    add_images(engine, image(1, status="DELETED"), image(2))
    add_images(engine, image(1))
    assert listed(engine) == [1, 2]


def test_failed_import_changes_nothing(engine: Engine) -> None:
    add_images(engine, image(1))
    (valid,) = stored_images(image(2))
    with pytest.raises(CatalogUnavailable):
        import_images(engine, [valid, replace(valid, id=image_id(3), created="not a time")], tombstone_days=30)
    assert listed(engine) == [1]


def test_import_purges_tombstones(engine: Engine, clock: FakeClock) -> None:
    add_images(engine, image(1), image(2))
    import_images(engine, stored_images(image(2)), prune=True, tombstone_days=30, clock=clock)
    clock.advance(8 * 86_400)
    import_images(engine, stored_images(image(3)), tombstone_days=7, clock=clock)
    assert exported_numbers(engine) == [2, 3]


def test_export_can_be_imported(engine: Engine, open_catalog: OpenCatalog) -> None:
    unlisted = image(16, os_hidden=True, visibility="shared", pending_members=[THIRD_PROJECT])
    add_images(engine, *IMAGES, image(15, status="DELETED"), unlisted)
    other, file = open_catalog("other"), b"".join(dump_images(exported(engine)))
    import_images(other, stored_images(*orjson.loads(file)["images"]), tombstone_days=30)
    assert exported(other) == exported(engine) == stored_images(*IMAGES, image(15, status="DELETED"), unlisted)
    assert [listed(other, each) for each in PROJECTS] == [listed(engine, each) for each in PROJECTS]


def test_export_of_one_owner_and_of_tombstones(engine: Engine) -> None:
    deleted = image(3, owner=PROJECT, status="DELETED")
    add_images(engine, image(1), image(2, owner=PROJECT), deleted, image(4, owner=OTHER_PROJECT))
    assert [image_number(each.id) for each in export_images(engine)] == [1, 2, 4]
    assert [image_number(each.id) for each in export_images(engine, owner=PROJECT)] == [2]
    assert [image_number(each.id) for each in export_images(engine, owner=PROJECT, deleted=True)] == [2, 3]


def load_sample(count: int = 3) -> list[StoredImage]:
    return stored_images(*(image(number) for number in range(count)))


def test_catalog_is_created_from_the_sample_once(engine: Engine) -> None:
    assert engine.schema_state() is SchemaState.EMPTY
    assert ensure_catalog(engine, load_sample, tombstone_days=30) == 3
    assert engine.schema_state() is SchemaState.CURRENT
    assert ensure_catalog(engine, lambda: load_sample(4), tombstone_days=30) == 0
    assert len(listed(engine)) == 3


def test_catalog_without_images_stays_empty(engine: Engine) -> None:
    add_images(engine)
    assert ensure_catalog(engine, load_sample, tombstone_days=30) == 0
    assert listed(engine) == []


def ensure_each(engines: list[Engine], start: Barrier, created: "Queue[int]") -> None:
    for engine in engines:
        start.wait()
        created.put(ensure_catalog(engine, load_sample, tombstone_days=30))


def test_concurrent_processes_create_a_catalog_once(open_catalog: OpenCatalog) -> None:
    context, processes = multiprocessing.get_context("fork"), 3
    engines = [open_catalog(f"{number}/catalog") for number in range(10)]
    start, created = context.Barrier(processes), context.Queue()
    workers = [
        context.Process(target=ensure_each, args=(engines, start, created), daemon=True) for _ in range(processes)
    ]
    for worker in workers:
        worker.start()
    counts = [created.get(timeout=30) for _ in range(processes * len(engines))]
    for worker in workers:
        worker.join()
    assert sorted(counts) == [0] * (processes - 1) * len(engines) + [3] * len(engines)
