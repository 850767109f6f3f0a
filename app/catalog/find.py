"""Finding images: one page of those that a tenant can see, in one SQL statement."""

import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

from sqlite_utils.utils import sqlite3  # type: ignore[attr-defined]

from app.catalog.schema import reading
from app.faults import BadParameter, CatalogUnavailable, quote
from app.tenants import comparable
from app.timestamps import utc


@dataclass(frozen=True)
class Query:
    """What is asked for: the query parameters of the contract, under the names that Connexion gives them."""

    changes_since: str | None = None
    server: str | None = None
    name: str | None = None
    status: str | None = None
    type_: str | None = None
    limit: int = 0
    marker: str | None = None


class Image(NamedTuple):
    """An image as the catalog holds it. The metadata is JSON."""

    id: str
    name: str | None
    status: str
    progress: int
    created: str
    updated: str
    min_disk: int
    min_ram: int
    size: int | None
    metadata: str
    server: str | None


Version = int

_COLUMNS = ", ".join(f"images.{field}" for field in Image._fields)


class Page(NamedTuple):
    """Some images in the order of the answer, and whether more follow."""

    images: list[Image]
    more: bool


# Three walks in the order of the answer, no further than the page takes, merged as they go: public images, the tenant's
# own, and those shared with it. The same as one walk with an OR would sort all that the tenant can see. Only what made
# it onto the page is read whole.
_PAGE = """
SELECT {columns} FROM (
    SELECT position, created, rank FROM images {index} WHERE audience = 'public' {conditions}
    UNION ALL
    SELECT position, created, rank FROM images {index} WHERE audience = :tenant {conditions}
    UNION ALL
    SELECT position, created, rank FROM memberships {shared_index} WHERE audience = :tenant {conditions}
    ORDER BY created DESC, rank DESC
    LIMIT :count
) AS page CROSS JOIN images USING (position)  -- CROSS: in this order
ORDER BY page.created DESC, page.rank DESC
"""

# SQLite keeps no numbers on the catalog, so it is told: few changes are gathered and sorted, many are met soon enough
# on a walk in the order of the answer, from which a + keeps the index of changes.
_FEW = 20_000
_CHANGED = """
SELECT count(*) FROM (
    SELECT 1 FROM images WHERE audience IN ('public', :tenant) AND updated >= :since
    UNION ALL
    SELECT 1 FROM memberships WHERE audience = :tenant AND updated >= :since
    LIMIT :few
)
"""

_KEY = """
SELECT created, rank FROM images
WHERE id = :id
  AND (
    visibility IN ('public', 'community')
    OR owner = :tenant
    OR (position, :tenant) IN (SELECT position, audience FROM memberships)
  )
"""


# The path of a URI reference, as RFC 3986 (appendix B) finds it. Python's urlsplit fails on some that the RFC allows.
_URI_PATH = re.compile(r"(?:[^:/?#]+:)?(?://[^/?#]*)?([^?#]*)")


class Catalog:
    """The catalog as its readers see it: a connection for each thread, opened when it first reads, and kept."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = _identity(path)
        self._threads = threading.local()

    def find(self, tenant: str, query: Query, *, at_most: int) -> Page:
        """Find a page of the images that a tenant can see, newest first.

        Raises BadParameter for a marker that names none of them, and CatalogUnavailable.
        """
        values: dict[str, Any] = {"tenant": comparable(tenant)}
        clauses = []
        for clause, value in _filters(query):
            clauses.append(f"AND {clause}")
            values |= value
        few = query.changes_since is not None and self._rows(_CHANGED, {**values, "few": _FEW})[0][0] < _FEW
        size = min(query.limit or at_most, at_most)
        if query.marker is not None:
            clauses.append("AND (created, rank) < (:created, :rank)")
            values |= self._key(query.marker, tenant)
        conditions = " ".join(clauses).format(updated="updated" if few else "+updated")
        statement = _PAGE.format(
            columns=_COLUMNS,
            conditions=conditions,
            index="INDEXED BY images_by_change" if few else "",
            shared_index="INDEXED BY memberships_by_change" if few else "",
        )
        rows = self._rows(statement, {**values, "count": size + 1})
        return Page([Image._make(row) for row in rows[:size]], more=len(rows) > size)

    def version(self) -> Version:
        """Tell which state of the catalog this thread sees: equal versions are one state. Raises CatalogUnavailable."""
        return int(self._rows("PRAGMA data_version", {})[0][0])

    def _key(self, marker: str, tenant: str) -> dict[str, Any]:
        """Find where in the order of the answer an image stands that the tenant can see."""
        rows = self._rows(_KEY, {"id": marker, "tenant": comparable(tenant)})
        if not rows:
            raise BadParameter("marker", f": {quote(marker)} is not the id of an image that {tenant} can see")
        return {"created": rows[0][0], "rank": rows[0][1]}

    def _rows(self, statement: str, values: dict[str, Any]) -> list[Any]:
        try:
            return self._connection().execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise CatalogUnavailable(f"{self._path}: {error}") from error

    def _connection(self) -> sqlite3.Connection:
        if _identity(self._path) != self._file:
            # SQLite would replay the old file's log into the new one.
            raise CatalogUnavailable(f"another file took the place of {self._path}: restart the service")
        try:
            return self._threads.connection  # type: ignore[no-any-return]
        except AttributeError:
            self._threads.connection = reading(self._path).conn
            return self._threads.connection  # type: ignore[no-any-return]


def _filters(query: Query) -> Iterator[tuple[str, dict[str, str]]]:
    """Give each filter that is asked for as a clause and its values."""
    if query.changes_since is not None:
        yield "{updated} >= :since", {"since": utc(query.changes_since)}
    if query.server is not None:
        yield "server = :server", {"server": _last_segment(query.server)}
    if query.name is not None:
        yield "name = :name", {"name": query.name}
    if query.status is not None:
        yield "status = :status", {"status": query.status}
    elif query.changes_since is None:
        yield "status <> 'DELETED'", {}
    if query.type_ in {"BASE", "SERVER"}:
        yield "origin = :type", {"type": query.type_}
    elif query.type_ not in {None, "ALL"}:
        yield "image_type = :type", {"type": query.type_}


def _last_segment(uri: str) -> str:
    path = _URI_PATH.match(uri)
    return unquote(path[1].rpartition("/")[2]) if path else ""


def _identity(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError as error:
        raise CatalogUnavailable(f"{path}: {error}") from error
    return status.st_dev, status.st_ino
