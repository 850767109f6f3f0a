"""What the database files hold, and that nothing but a catalog is written to."""

import errno
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from sqlite_utils import Database

from app.catalog.engine import Engine
from app.catalog.engines import open_catalog
from app.catalog.sqlite.database import translate_errors
from app.catalog.transfer import ensure_catalog, import_images
from app.errors import CatalogReadOnly, CatalogUnavailable
from tests.support.catalogs import add_images
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
