"""Catalogs of each engine, and short forms of what tests do with them."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlite_utils.utils import sqlite3  # type: ignore[attr-defined]

from app.catalog.engine import Engine, SchemaState, current_version
from app.catalog.engines import open_catalog
from app.catalog.image_parts import PartStore
from app.catalog.models import Image, ImageFilters, StoredImage
from app.catalog.reader import CatalogReader
from app.catalog.transfer import export_images, import_images
from tests.support.images import Fields, image_number, stored_images
from tests.support.postgresql import Cluster
from tests.support.projects import PROJECT

NewCatalog = Callable[[str], str]  # from the name of a catalog, to its location
Catalogs = Callable[..., AbstractContextManager[NewCatalog]]  # from a folder for what is stored in files

# For tests of what only one engine has.
sqlite_only, postgresql_only = (
    pytest.mark.parametrize("catalogs", [engine], indirect=True, scope="session")
    for engine in ("sqlite", pytest.param("postgresql", marks=pytest.mark.external))
)

# Ends the sessions that hold the lock of the mirror of a PostgreSQL catalog.
END_MIRROR = """
SELECT pg_terminate_backend(pid, 10000) FROM pg_locks JOIN pg_database ON pg_database.oid = database
WHERE locktype = 'advisory' AND datname = current_database()
"""


_TABLES = ("image_index", "image_members", "images", "tokens", "upstream")
_REMOVE_IMAGES = "; ".join(f"DELETE FROM {table}" for table in (*_TABLES, "sync_status"))  # noqa: S608 no user input


@contextmanager
def sqlite_catalogs(folder: Path, *, may_exist: bool = False) -> Iterator[NewCatalog]:
    """Provide the locations of SQLite catalogs that do not exist yet."""
    yield lambda name: str(folder / f"{name}.db")


class PostgreSQLCatalogs:
    """Empty databases. After use, they are emptied and reused, because that is faster than creating new ones."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._unused: list[str] = []
        self._without_images: list[str] = []

    @contextmanager
    def __call__(self, _folder: Path, *, may_exist: bool = False) -> Iterator[NewCatalog]:
        """Provide the locations of PostgreSQL catalogs that do not exist yet, until the end of the block.

        Those that may exist, without images, save the time of creating their tables.
        """
        used: dict[str, str] = {}

        def new_catalog(name: str) -> str:
            if name not in used:
                unused = (may_exist and self._without_images) or self._unused
                used[name] = unused.pop() if unused else self._cluster.create_database()
            return self._cluster.url(used[name])

        try:
            yield new_catalog
        finally:
            for database in used.values():
                self._empty(database, may_exist=may_exist)

    def _empty(self, database: str, *, may_exist: bool) -> None:
        if may_exist:
            with suppress(psycopg.Error):  # the test changed the tables
                self._cluster.empty_database(database, _REMOVE_IMAGES)
                self._without_images.append(database)
                return
        self._cluster.empty_database(database)
        self._unused.append(database)


def is_missing(location: str) -> bool:
    """Return whether nothing has created the catalog."""
    if location.startswith("postgresql:"):
        return open_catalog(location).schema_state() is SchemaState.EMPTY
    return not Path(location).exists()


def state(location: str) -> object:
    """Return what changes whenever something is written to the catalog."""
    if location.startswith("postgresql:"):
        return execute(location, "SELECT version FROM catalog")
    return Path(location).read_bytes()


def empty_catalog(location: str) -> None:
    """Remove everything from a catalog, which continues to exist."""
    execute(location, *(f"DELETE FROM {table}" for table in _TABLES))  # noqa: S608 no user input


def remove_catalog(location: str) -> None:
    """Remove a catalog, as its operator could while services use it."""
    if location.startswith("postgresql:"):
        execute(location, "DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    else:
        Path(location).unlink()


def execute(location: str, *statements: str) -> list[tuple[Any, ...]]:
    """Execute SQL statements in one transaction, and return the rows of the last one."""
    connect = psycopg.connect if location.startswith("postgresql:") else sqlite3.connect
    with closing(connect(location)) as database, database:
        cursor = [database.execute(each) for each in statements][-1]
        return cursor.fetchall() if cursor.description else []


def add_images(engine: Engine, *images: Fields) -> Engine:
    """Import images, and return the engine."""
    import_images(engine, stored_images(*images), tombstone_days=30)
    return engine


def read_list(engine: Engine, project_id: str = PROJECT, **filters: Any) -> list[Image]:
    """Return the images in a project's list, in its order."""
    images: list[Image] = []

    def build(batch: Sequence[Image]) -> list[bytes]:
        images.extend(batch)
        return [str(number).encode() for number in range(len(images) - len(batch), len(images))]

    store = PartStore(build, max_bytes=0)
    page = CatalogReader(engine).list_images(project_id, ImageFilters(**filters), store, max_images=1000)
    return [images[int(part)] for part in page.parts]


def listed(engine: Engine, project_id: str = PROJECT, **filters: Any) -> list[int]:
    """Return the numbers of the images in a project's list, in its order."""
    return [image_number(image.id) for image in read_list(engine, project_id, **filters)]


def stored_version(engine: Engine) -> object:
    """Return the version that the catalog stores, without the number of the connection that read it."""
    version = asyncio.run(current_version(engine))
    return version[1] if isinstance(version, tuple) else version


def exported(engine: Engine) -> list[StoredImage]:
    """Return all images and tombstones, in the order in which they were added."""
    return list(export_images(engine, deleted=True))


def exported_numbers(engine: Engine) -> list[int]:
    """Return the numbers of all images and tombstones, in the order in which they were added."""
    return [image_number(image.id) for image in exported(engine)]
