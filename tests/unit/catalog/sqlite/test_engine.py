"""How the engine uses its connections and its file."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Barrier

import pytest
from sqlite_utils import Database
from sqlite_utils.utils import sqlite3  # type: ignore[attr-defined]

from app.catalog.engine import Snapshot, current_version
from app.catalog.engines import open_catalog
from app.catalog.errors import CatalogReadOnly, CatalogUnavailable
from app.catalog.listing import EVERYONE, IndexScan, Partition
from app.catalog.models import FoundPage, Version
from app.catalog.reader import CatalogReader
from app.catalog.sqlite.engine import SQLiteEngine
from app.catalog.transfer import ensure_catalog, import_images
from tests.conftest import Serve
from tests.support.catalogs import add_images, exported_numbers, listed
from tests.support.images import catalog_of, image, stored_images


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return catalog_of(tmp_path, image(1))


def connection_of(engine: SQLiteEngine) -> sqlite3.Connection:
    """Return the connection on which the thread reads for requests."""
    with engine.snapshot() as snapshot:
        return snapshot._execute.__self__  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize("prefix", ["", "sqlite:///"])
def test_location_is_a_path_or_a_url(path: Path, prefix: str) -> None:
    engine = open_catalog(f"{prefix}{path}")
    assert engine.name == str(path)
    assert listed(engine) == [1]


def test_each_thread_has_a_connection_that_stays_open(path: Path) -> None:
    engine = SQLiteEngine(path)
    connections: list[object] = []

    def read() -> None:
        connections.extend([connection_of(engine), connection_of(engine)])

    thread = threading.Thread(target=read)
    thread.start()
    thread.join()
    read()
    assert connections[0] is connections[1]
    assert connections[2] is connections[3]
    assert connections[0] is not connections[2]


def test_connection_is_read_only(path: Path) -> None:
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        connection_of(SQLiteEngine(path)).execute("DELETE FROM images")


@pytest.mark.parametrize("is_replaced", [False, True])
def test_missing_or_replaced_file_is_unavailable(path: Path, is_replaced: bool) -> None:
    engine = SQLiteEngine(path)
    CatalogReader(engine).ping()
    if is_replaced:
        catalog_of(path.parent / "other").replace(path)
    else:
        path.unlink()
    message = "was replaced by another file" if is_replaced else "No such file"
    with pytest.raises(CatalogUnavailable, match=message):
        listed(engine)
    with pytest.raises(CatalogUnavailable, match=message):
        asyncio.run(current_version(engine))


@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE image_index",
        "DROP TABLE status_types",
        "ALTER TABLE image_index RENAME COLUMN changed TO updated",
        "ALTER TABLE images RENAME COLUMN size TO bytes",
        "ALTER TABLE upstream RENAME COLUMN revision TO turn",
        "DELETE FROM _sqlite_migrations WHERE id = 6",
    ],
)
def test_ping_fails_unless_the_schema_is_current(path: Path, serve: Serve, statement: str) -> None:
    client = serve(path)
    assert client.get("/healthcheck/ready").status_code == 200
    with closing(Database(path)) as db:
        db.execute("DROP VIEW image_index_entries")  # or SQLite would reject the changes
        db.execute(statement)
    with pytest.raises(CatalogUnavailable):
        CatalogReader(open_catalog(path)).ping()
    assert client.get("/healthcheck/ready").status_code == 503


def test_version_is_read_once_in_an_iteration_of_the_event_loop(path: Path) -> None:
    engine = SQLiteEngine(path)

    async def read() -> None:
        before = engine.version()
        add_images(open_catalog(path), image(2))
        assert engine.version() == before
        await asyncio.sleep(0)
        assert engine.version() != before

    asyncio.run(read())


def test_no_connection_is_opened_to_a_replaced_file(path: Path, tmp_path: Path) -> None:
    engine = SQLiteEngine(path)

    async def replace_and_read() -> None:
        engine.version()  # the file is checked in this iteration of the event loop
        path.rename(tmp_path / "earlier.db")
        catalog_of(tmp_path, image(2))
        with pytest.raises(CatalogUnavailable, match="was replaced by another file"), engine.snapshot():
            pass

    asyncio.run(replace_and_read())


def page_of(snapshot: Snapshot) -> FoundPage:
    """Return a page of the public images."""
    return snapshot.find_page([IndexScan(Partition(EVERYONE, deleted=False), None, (), None)], 10)


def page_versions(engine: SQLiteEngine) -> list[Version | None]:
    """Return the versions of pages that several threads read."""

    def read(_number: int) -> Version | None:
        with engine.snapshot() as snapshot:
            return page_of(snapshot).version

    with ThreadPoolExecutor(3, initializer=Barrier(3).wait) as threads:
        return list(threads.map(read, range(3)))


def test_version_of_a_page_is_the_same_in_all_threads_until_the_catalog_changes(path: Path) -> None:
    engine = SQLiteEngine(path)
    versions = page_versions(engine)
    assert page_versions(engine) == versions == [asyncio.run(current_version(engine))] * 3
    add_images(open_catalog(path), image(2))
    assert set(page_versions(engine)).isdisjoint({*versions, None})


def test_page_has_no_version_if_the_catalog_changes_meanwhile(path: Path) -> None:
    engine = SQLiteEngine(path)
    with engine.snapshot() as snapshot:
        before = page_of(snapshot)
        add_images(open_catalog(path), image(2))
        assert page_of(snapshot) == FoundPage(None, before.sequences)
    assert before.version is not None


@pytest.mark.parametrize("batch_size", [1, 2, 10])
def test_images_are_written_in_batches(tmp_path: Path, batch_size: int) -> None:
    engine = SQLiteEngine(tmp_path / "catalog.db", batch_size=batch_size)
    images = stored_images(*(image(number) for number in range(1, 6)))
    assert import_images(engine, images, tombstone_days=30).new == 5
    changed = stored_images(image(2), image(4, name="new"), image(6))
    assert import_images(engine, changed, tombstone_days=30) == (1, 1, 1, 0)
    assert exported_numbers(engine) == listed(engine) == [1, 2, 3, 4, 5, 6]


def test_repeated_import_does_not_write_to_the_file(path: Path) -> None:
    before = path.read_bytes()
    add_images(open_catalog(path), image(1))
    assert path.read_bytes() == before


def test_current_catalog_is_served_from_a_read_only_folder(path: Path) -> None:
    with closing(Database(path)) as db:
        db.disable_wal()
    path.chmod(0o444)
    path.parent.chmod(0o555)
    try:
        assert ensure_catalog(open_catalog(path), list, tombstone_days=30) == 0
        assert listed(open_catalog(path)) == [1]
        assert list(path.parent.iterdir()) == [path]
    finally:
        path.parent.chmod(0o755)


def test_immutable_catalog_is_read_without_other_files_and_never_written(path: Path) -> None:
    engine = open_catalog(f"sqlite:///{path}?immutable=1")
    before = path.read_bytes()
    assert (engine.name, listed(engine), list(engine.check()), exported_numbers(engine)) == (str(path), [1], [], [1])
    with pytest.raises(CatalogReadOnly, match=r"/catalog\.db is immutable, as its location says$"):
        add_images(engine, image(2))
    assert (list(path.parent.iterdir()), path.read_bytes()) == ([path], before)
