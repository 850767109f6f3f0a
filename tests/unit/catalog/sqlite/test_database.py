"""What the database files hold, and that nothing but a catalog is written to."""

import errno
import fcntl
import os
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from sqlite_utils import Database

from app.catalog.engine import Engine
from app.catalog.engines import open_catalog
from app.catalog.errors import CatalogReadOnly, CatalogUnavailable
from app.catalog.models import SyncStatus
from app.catalog.sqlite.database import translate_errors
from app.catalog.sqlite.engine import SQLiteEngine
from app.catalog.transfer import ensure_catalog, import_images
from tests.support.catalogs import add_images
from tests.support.engines import ImpatientEngine
from tests.support.images import image, stored_images

USES: dict[str, Callable[[Engine], object]] = {
    "state": lambda engine: engine.schema_state(),
    "import": lambda engine: import_images(engine, [], tombstone_days=30),
    "ensure": lambda engine: ensure_catalog(engine, list, tombstone_days=30),
}
each_use = pytest.mark.parametrize("use", USES.values(), ids=USES)


@each_use
def test_database_of_something_else_is_rejected(tmp_path: Path, use: Callable[[Engine], object]) -> None:
    path = tmp_path / "other.db"
    with closing(Database(path)) as db:
        db.table("birds").insert({"name": "heron"})
    before = path.read_bytes()
    with pytest.raises(CatalogUnavailable, match=r"other\.db is a database of another application$"):
        use(open_catalog(path))
    assert path.read_bytes() == before


@each_use
def test_file_that_is_no_database_is_rejected(tmp_path: Path, use: Callable[[Engine], object]) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database\n" * 100)
    with pytest.raises(CatalogUnavailable, match=r"notes\.txt: file is not a database$"):
        use(open_catalog(path))
    assert path.read_text() == "not a database\n" * 100


def test_empty_file_becomes_a_catalog(tmp_path: Path) -> None:
    path = tmp_path / "catalog.db"
    path.touch()
    assert ensure_catalog(open_catalog(path), lambda: stored_images(image(1)), tombstone_days=30) == 1


def test_folders_are_created(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "catalog.db"
    add_images(open_catalog(path))
    assert path.exists()


def test_folder_that_cannot_be_created_is_an_error_of_the_catalog(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    engine = open_catalog(tmp_path / "file" / "catalog.db")
    with pytest.raises(CatalogUnavailable, match=r"/file/catalog\.db: "):
        add_images(engine)


@pytest.mark.parametrize(
    ("number", "expected"),
    [(errno.EACCES, CatalogReadOnly), (errno.EROFS, CatalogReadOnly), (errno.ENOSPC, CatalogUnavailable)],
)
def test_errors_of_the_file_system_are_translated(number: int, expected: type[CatalogUnavailable]) -> None:
    with pytest.raises(CatalogUnavailable, match=r"^catalog\.db: ") as raised, translate_errors(Path("catalog.db")):
        raise OSError(number, "reason")
    assert raised.type is expected


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
@each_use
def test_folder_pipe_and_device_are_rejected_at_once(
    tmp_path: Path, make: Callable[[Path], None], use: Callable[[Engine], object]
) -> None:
    path = tmp_path / "catalog.db"
    make(path)
    engine = open_catalog(path)
    for each in (use, lambda engine: engine.connect()):
        with pytest.raises(CatalogUnavailable, match=r"^/.*/catalog\.db is not a regular file$"):
            each(engine)


def modes(path: Path) -> dict[str, str]:
    return {each.name: f"{each.stat().st_mode & 0o777:o}" for each in path.parent.iterdir()}


def test_files_of_a_new_catalog_are_private_and_existing_modes_stay(tmp_path: Path) -> None:
    path = tmp_path / "catalog.db"
    before = os.umask(0)
    try:
        engine = add_images(open_catalog(path), image(1))
        with engine.mirror_lock(), engine.snapshot():
            engine.write_sync_status(SyncStatus())
            names = ("", "-shm", "-wal", ".mirror", ".mirror-lock")
            assert modes(path) == {f"catalog.db{name}": "600" for name in names}
        path.chmod(0o640)
        add_images(open_catalog(path), image(2))
        assert modes(path)["catalog.db"] == "640"
    finally:
        os.umask(before)


def test_catalog_behind_a_symbolic_link_is_private(tmp_path: Path) -> None:
    (tmp_path / "link.db").symlink_to("folder/catalog.db")
    engine = add_images(open_catalog(tmp_path / "link.db"), image(1))
    with engine.snapshot():
        assert set(modes(tmp_path / "folder/catalog.db").values()) == {"600"}


def test_lock_on_the_folder_does_not_delay_a_new_catalog(tmp_path: Path) -> None:
    folder = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(folder, fcntl.LOCK_EX)
    try:
        add_images(ImpatientEngine(tmp_path / "catalog.db"), image(1))
    finally:
        os.close(folder)


def test_error_after_the_commit_is_no_failure_of_the_transaction(tmp_path: Path) -> None:
    engine = SQLiteEngine(tmp_path / "catalog.db", max_wal_bytes=0)
    add_images(engine, *(image(number) for number in range(500)))
    with engine.transaction(timeout=1) as transaction:
        transaction.upsert_images(stored_images(image(1, name="new")))
        os.truncate(tmp_path / "catalog.db", 4096)  # so that the write-ahead log does not fit the file


def test_write_ahead_log_is_emptied_when_its_reader_has_finished(tmp_path: Path) -> None:
    engine = SQLiteEngine(tmp_path / "catalog.db", max_wal_bytes=100_000)
    log = tmp_path / "catalog.db-wal"
    add_images(engine, image(0))
    with engine.snapshot():  # a connection that stays open, as in the service
        pass
    with engine.open_snapshot() as snapshot:
        snapshot.ping()
        add_images(engine, *(image(number, metadata={"key": "x" * 255}) for number in range(1000)))
        add_images(engine, image(0, name="new"))
        assert log.stat().st_size > 100_000
    add_images(engine, image(0, name="newer"))
    assert log.stat().st_size == 0
