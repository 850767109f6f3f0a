"""Backups of a SQLite file: what SQLite does with the files, with damaged ones, and with those of other versions."""

import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import FrameType

import pytest
from sqlite_utils import Database

from app.catalog.documents import dump_images
from app.catalog.engine import SchemaState
from app.catalog.engines import open_catalog
from app.catalog.errors import CatalogBusy, CatalogDamaged, CatalogReadOnly, CatalogUnavailable
from app.catalog.models import SyncStatus
from app.catalog.sqlite.engine import SQLiteEngine
from tests.support.catalogs import add_images, exported, exported_numbers, listed
from tests.support.images import catalog_of, image
from tests.unit.catalog.sqlite.earlier_catalogs import EARLIER, NAMES, REPLICAS, earlier_catalog, rows

KILLED_WHILE_WRITING = """
import os, signal, sys
from pathlib import Path
from app.catalog.engines import open_catalog
sys.addaudithook(lambda event, args: event == "os.rename" and os.kill(os.getpid(), signal.SIGKILL))
open_catalog(sys.argv[1]).backup(Path(sys.argv[2]))
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a catalog of several pages of SQLite."""
    return catalog_of(tmp_path, *(image(n, metadata={"key": "x" * 250}) for n in range(100)))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    folder = tmp_path / "backups"
    folder.mkdir()
    return folder / "backup.db"


def test_backup_is_one_private_file(path: Path, file: Path) -> None:
    engine = open_catalog(path)
    for number in (100, 101):
        add_images(engine, image(number))
        engine.backup(file)
        assert [each.name for each in file.parent.iterdir()] == ["backup.db"]
        assert file.stat().st_mode & 0o777 == 0o600
        assert exported_numbers(open_catalog(f"sqlite:///{file}?immutable=1")) == [*range(number + 1)]


def test_backup_ends_although_others_write_after_each_page_and_is_one_state(path: Path, file: Path) -> None:
    before = exported(open_catalog(path))
    sizes = iter(range(1000))  # the changes after which the test gives up
    with closing(Database(path)) as db:
        db.execute("PRAGMA synchronous = OFF")

        def write(frame: FrameType, event: str, _: object) -> None:
            if (event, frame.f_code.co_name) == ("return", "_stop_if_busy"):
                db.execute("UPDATE images SET size = ?", [next(sizes)])

        sys.setprofile(write)
        try:
            SQLiteEngine(path, backup_step=1).backup(file)
        finally:
            sys.setprofile(None)
    assert next(sizes) > 10
    assert exported(open_catalog(file)) == before


def test_killed_backup_leaves_the_earlier_one(path: Path, file: Path) -> None:
    engine = open_catalog(path)
    engine.backup(file)
    before = file.read_bytes()
    add_images(engine, image(100))
    killed = subprocess.run([sys.executable, "-c", KILLED_WHILE_WRITING, str(path), str(file)], check=False)
    assert (killed.returncode, file.read_bytes()) == (-signal.SIGKILL, before)


@pytest.mark.parametrize("name", NAMES)
def test_backup_of_an_earlier_version_is_restored_as_one_of_this_version(tmp_path: Path, file: Path, name: str) -> None:
    earlier, engine = open_catalog(earlier_catalog(tmp_path, name)), open_catalog(tmp_path / "new.db")
    earlier.backup(file)
    backup = file.read_bytes()
    engine.restore(file, timeout=1)
    expected = EARLIER / ("replica.json" if name in REPLICAS else "imported.json")
    assert b"".join(dump_images(exported(engine))) == expected.read_bytes()
    assert list(engine.check()) == []
    assert (file.read_bytes(), earlier.schema_state()) == (backup, SchemaState.OUTDATED)


def test_restore_is_a_change_of_the_file_that_readers_have_open(path: Path, file: Path) -> None:
    engine = SQLiteEngine(path)
    engine.backup(file)
    add_images(engine, image(100))
    with engine.snapshot() as snapshot:
        assert len(snapshot.image_ids()) == 101
        open_catalog(path).restore(file, timeout=1)
        assert len(snapshot.image_ids()) == 101
    assert len(listed(engine)) == 100
    assert not rows(engine, "SELECT name FROM sqlite_schema WHERE name LIKE 'backup%'")


@pytest.mark.parametrize("target", ["catalog.db", "new.db"])
def test_backup_with_pages_of_another_size_is_restored(path: Path, file: Path, target: str) -> None:
    engine = open_catalog(path.parent / target)
    with closing(Database(catalog_of(file.parent, image(1)))) as db:
        db.disable_wal()
        db.execute("PRAGMA page_size = 8192")
        db.execute("VACUUM")
        assert db.execute("PRAGMA page_size").fetchone() == (8192,)
    engine.restore(file.parent / "catalog.db", timeout=1)
    assert listed(engine) == [1]


def test_failed_restore_changes_nothing(path: Path, file: Path) -> None:
    engine, status = open_catalog(path), SyncStatus(images=1)
    engine.write_sync_status(SyncStatus(images=2))
    engine.backup(file)
    engine.write_sync_status(status)
    add_images(engine, image(100))
    with engine.transaction(timeout=1), pytest.raises(CatalogBusy):
        open_catalog(path).restore(file, timeout=0.1)
    assert (len(listed(engine)), engine.read_sync_status()) == (101, status)


def truncate(content: bytes) -> bytes:
    return content[: len(content) // 2]


def overwrite_a_page(content: bytes) -> bytes:
    return content[: 4096 * 5] + b"\xff" * 4096 + content[4096 * 6 :]


def overwrite_the_header(content: bytes) -> bytes:
    return b"x" * 100 + content[100:]


DAMAGE = (truncate, overwrite_a_page, overwrite_the_header)


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_file_is_neither_backed_up_nor_restored(
    path: Path, file: Path, damage: Callable[[bytes], bytes]
) -> None:
    damaged = path.with_name("damaged.db")
    damaged.write_bytes(damage(path.read_bytes()))
    problem = rf"^{damaged}( is damaged)?: [^\n]+$"
    with pytest.raises(CatalogDamaged, match=problem):
        open_catalog(damaged).backup(file)
    for target in (path, path.with_name("new.db")):
        with pytest.raises(CatalogDamaged, match=problem):
            open_catalog(target).restore(damaged, timeout=1)
    assert len(listed(open_catalog(path))) == 100
    assert list(file.parent.iterdir()) == []
    assert not path.with_name("new.db").exists()


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Make this process fail to write files of more than so many bytes, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(("command", "missing_bytes"), [("backup", 40_000), ("backup", 1), ("restore", 40_000)])
def test_folder_that_cannot_be_written_to_is_no_damage(
    path: Path, file: Path, command: str, missing_bytes: int
) -> None:
    engine, backup = open_catalog(path), file.with_name("earlier.db")
    engine.backup(backup)
    origin, target = (path, file) if command == "backup" else (backup, path.parent / "new.db")
    with file_size_limit(backup.stat().st_size - missing_bytes), pytest.raises(CatalogUnavailable) as raised:
        engine.backup(file) if command == "backup" else open_catalog(target).restore(backup, timeout=1)
    assert str(raised.value) == f"{origin} cannot be copied to the folder {target.parent}: disk I/O error"
    assert not target.exists()


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_catalog_is_replaced_by_its_backup_or_has_to_be_deleted(
    path: Path, file: Path, damage: Callable[[bytes], bytes]
) -> None:
    open_catalog(path).backup(file)
    path.write_bytes(damage(path.read_bytes()))
    if damage is not overwrite_a_page:
        with pytest.raises(
            CatalogDamaged,
            match=rf"too damaged to be written to. If IMAGES_CATALOG is right, stop the service, delete {path}, ",
        ):
            open_catalog(path).restore(file, timeout=1)
        path.unlink()
    open_catalog(path).restore(file, timeout=1)
    assert len(listed(open_catalog(path))) == 100


def test_catalog_of_a_later_version_is_replaced_by_an_earlier_backup(path: Path, file: Path) -> None:
    engine = open_catalog(path)
    engine.backup(file)
    with closing(Database(path)) as db:
        db.execute("INSERT INTO _sqlite_migrations (migration_set, name) VALUES ('compute-images', '999')")
    engine.restore(file, timeout=1)
    assert engine.schema_state() is SchemaState.CURRENT


def test_database_of_another_application_is_neither_replaced_nor_restored(path: Path, file: Path) -> None:
    open_catalog(path).backup(file)
    other = path.with_name("other.db")
    with closing(Database(other)) as db:
        db.execute("CREATE TABLE notes (text)")
    for target, backup in ((other, file), (path, other)):
        with pytest.raises(CatalogUnavailable, match=f"^{other} is a database of another application$"):
            open_catalog(target).restore(backup, timeout=1)


@pytest.mark.parametrize(
    ("file_name", "problem"),
    [
        *((name, "is the catalog itself, or a part of it") for name in ("catalog.db", "link.db", "hard-link.db")),
        *((f"catalog.db{suffix}", "or a part of it") for suffix in ("-wal", "-shm", ".mirror", ".mirror-lock")),
        *((name, f"used.db-wal exists, so .*/{name} is a database in use") for name in ("used.db", "link-to-used.db")),
        ("missing/backup.db", "cannot be written: .*/missing is not a folder"),
    ],
)
def test_file_that_cannot_become_a_backup_is_rejected(path: Path, file_name: str, problem: str) -> None:
    path.with_name("link.db").symlink_to(path)
    path.with_name("hard-link.db").hardlink_to(path)
    path.with_name("used.db-wal").touch()
    path.with_name("link-to-used.db").symlink_to("used.db")
    with pytest.raises(CatalogUnavailable, match=problem):
        open_catalog(path).backup(path.parent / file_name)


def test_immutable_catalog_can_be_backed_up_but_not_restored(path: Path, file: Path) -> None:
    engine = open_catalog(f"sqlite:///{path}?immutable=1")
    engine.backup(file)
    with pytest.raises(CatalogReadOnly, match="is immutable"):
        engine.restore(file, timeout=1)
    assert len(exported(open_catalog(file))) == 100
