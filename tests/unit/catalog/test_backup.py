"""Backups, whichever engine stores the catalog."""

from pathlib import Path

import pytest

from app.catalog.backup import CatalogExists, back_up_catalog, restore_catalog
from app.catalog.engine import Engine
from app.catalog.errors import CatalogMissing
from app.catalog.models import SyncStatus
from app.catalog.reader import CatalogReader
from app.catalog.tokens import add_token, find_token
from app.errors import MirrorAlreadyRunning
from app.files import FileNotReplaced
from tests.support.catalogs import add_images, exported, exported_numbers
from tests.support.images import image
from tests.support.projects import OTHER_PROJECT, PROJECT
from tests.unit.catalog.conftest import OpenCatalog
from tests.unit.catalog.replicas import Replica

STATUS = SyncStatus(2.0, 1.0, "2020-01-01T00:00:00Z", 2, {"a": "b"}, {"c": "d"}, "e", {"f": "F"})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "backup"


def test_restored_catalog_has_images_tombstones_and_tokens(
    engine: Engine, open_catalog: OpenCatalog, file: Path
) -> None:
    shared = image(2, visibility="shared", owner=PROJECT, members=[OTHER_PROJECT])
    add_images(engine, shared, image(1), image(3, status="DELETED"))
    token = add_token(engine, PROJECT, is_admin=True, expires=None)
    back_up_catalog(engine, file, replace=False)
    other = open_catalog("folder/other")
    restore_catalog(other, file, replace=False)
    assert exported(other) == exported(engine)
    assert find_token(other, token) == find_token(engine, token) is not None
    assert list(other.check()) == []


def test_restored_replica_continues_where_the_backup_was_made(
    replica: Replica, open_catalog: OpenCatalog, file: Path
) -> None:
    replica.sync(image(1))
    replica.engine.write_sync_status(STATUS)
    back_up_catalog(replica.engine, file, replace=False)
    other = open_catalog("other")
    for before in (None, SyncStatus(images=7)):  # the status of a later state would hide changes from the next sync
        if before:
            other.write_sync_status(before)
        restore_catalog(other, file, replace=before is not None)
        assert other.read_sync_status() == STATUS
        assert CatalogReader(other).upstream() == CatalogReader(replica.engine).upstream()


def test_existing_file_or_catalog_is_replaced_only_if_this_is_wanted(
    engine: Engine, open_catalog: OpenCatalog, file: Path
) -> None:
    add_images(engine, image(1))
    file.write_text("kept")
    with pytest.raises(FileNotReplaced):
        back_up_catalog(engine, file, replace=False)
    assert file.read_text() == "kept"
    back_up_catalog(engine, file, replace=True)
    other = add_images(open_catalog("other"), image(2))
    with pytest.raises(CatalogExists):
        restore_catalog(other, file, replace=False)
    assert exported_numbers(other) == [2]
    restore_catalog(other, file, replace=True)
    assert exported_numbers(other) == [1]


def test_catalog_of_a_running_mirror_is_not_replaced(engine: Engine, file: Path) -> None:
    add_images(engine, image(1))
    back_up_catalog(engine, file, replace=False)
    with engine.mirror_lock(), pytest.raises(MirrorAlreadyRunning):
        restore_catalog(engine, file, replace=True)


def test_missing_catalog_is_not_backed_up(engine: Engine, file: Path) -> None:
    with pytest.raises(CatalogMissing):
        back_up_catalog(engine, file, replace=False)
    assert not file.exists()
