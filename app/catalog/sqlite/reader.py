"""Finding images: one page of those that a tenant can see, in one state of the catalog."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlite_utils.utils import sqlite3  # type: ignore[attr-defined]

from app.catalog.models import Image, ImageFilters, Page, Upstream, Version
from app.catalog.replica import upstream_of
from app.catalog.sqlite.database import open_reader, translate_errors
from app.catalog.sqlite.listing import ListingQuery
from app.catalog.sqlite.schema import SHOWN
from app.errors import CatalogUnavailable, ImageNotFound
from app.text import normalize_project_id

_COLUMNS = ", ".join(f"images.{field}" for field in Image._fields)
_IMAGE = f"SELECT {_COLUMNS} FROM images WHERE {SHOWN}"  # noqa: S608 ours


# The walks are merged as they go, and no further than the page takes: one walk with an OR for its lists would sort all
# that they hold. Only what made it onto the page is read whole.
_PAGE = f"""
SELECT {_COLUMNS} FROM (
    {{walks}}
    ORDER BY created DESC, rank DESC
    LIMIT +:count
) AS page CROSS JOIN images ON position = -rank  -- CROSS: in this order
ORDER BY page.created DESC, page.rank DESC
"""  # noqa: S608 only the names of columns are put in, and what `Search` builds


class CatalogReader:
    """The catalog as its readers see it: a connection for each thread, opened when it first reads, and kept."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = _file_id(path)
        self._threads = threading.local()

    def find(self, tenant: str, query: ImageFilters, *, at_most: int) -> Page:
        """Find a page of the images that a tenant can see, newest first.

        Raises BadParameter for a marker that names none of them, and CatalogUnavailable.
        """
        size = min(query.limit or at_most, at_most)
        with self.snapshot() as connection:
            search = ListingQuery(connection, tenant, query, size + 1)
            walks = " UNION ALL ".join(search.walks())
            rows = connection.execute(_PAGE.format(walks=walks), search.values).fetchall() if walks else []
        return Page([Image._make(row) for row in rows[:size]], more=len(rows) > size)

    def get(self, tenant: str, image_id: str) -> Image:
        """Give an image that a tenant can see, if only by its id. Raises ImageNotFound and CatalogUnavailable."""
        with self.snapshot() as connection:
            row = connection.execute(_IMAGE, {"id": image_id, "tenant": normalize_project_id(tenant)}).fetchone()
        if row is None:
            raise ImageNotFound
        return Image._make(row)

    def check(self) -> None:
        """Raise CatalogUnavailable unless images can be read."""
        with self.snapshot() as connection:
            connection.execute("SELECT 1 FROM images LIMIT 1").fetchone()

    def upstream(self) -> Upstream | None:
        """Tell which image service the catalog is a copy of, if it is one. Raises CatalogUnavailable."""
        with self.snapshot() as connection:
            return upstream_of(connection)

    def knows(self, image_id: str) -> bool:
        """Tell whether the catalog has an image, whoever may see it, or a tombstone. Raises CatalogUnavailable."""
        with self.snapshot() as connection:
            return connection.execute("SELECT 1 FROM images WHERE id = ?", [image_id]).fetchone() is not None

    def version(self) -> Version:
        """Tell which state of the catalog this thread sees: equal versions are one state. Raises CatalogUnavailable."""
        try:  # and no context manager, as every kept answer waits for this
            return int(self._connection().execute("PRAGMA data_version").fetchone()[0])
        except sqlite3.Error as error:
            raise CatalogUnavailable(f"{self.path}: {error}") from error

    @contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection]:
        """Read one state of the catalog, whatever is written meanwhile. Raises CatalogUnavailable."""
        with translate_errors(self.path):
            connection = self._connection()
            try:
                connection.execute("BEGIN")
                yield connection
            finally:
                connection.rollback()

    def _connection(self) -> sqlite3.Connection:
        if _file_id(self.path) != self._file:
            # SQLite would replay the old file's log into the new one.
            raise CatalogUnavailable(f"another file took the place of {self.path}: restart the service")
        try:
            return self._threads.connection  # type: ignore[no-any-return]
        except AttributeError:
            self._threads.connection = open_reader(self.path).conn
            return self._threads.connection  # type: ignore[no-any-return]


def _file_id(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError as error:
        raise CatalogUnavailable(f"{path}: {error}") from error
    return status.st_dev, status.st_ino
