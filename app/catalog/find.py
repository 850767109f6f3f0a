"""Finding images: one page of those that a tenant can see, in one SQL statement."""

import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

from sqlite_utils.utils import sqlite3  # type: ignore[attr-defined]

from app.catalog.schema import EVERYONE, reading
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


@dataclass(frozen=True)
class Filter:
    """What images have to be: a clause of SQL, its values, and the index that leads to them, where there is one."""

    clause: str
    values: dict[str, Any]
    index: str = ""


# Two walks in the order of the answer, no further than the page takes, merged as they go: the images that everyone has
# in the list, and the tenant's. The same as one walk with an OR would sort all that the tenant can see. Only what made
# it onto the page is read whole. The + of a LIMIT keeps SQLite from planning anew for each number that it is given.
_AUDIENCE = "(SELECT id FROM audiences WHERE tenant = :tenant)"
_PAGE = """
SELECT {columns} FROM (
    SELECT created, rank FROM listings {index} WHERE {conditions} AND audience = {everyone}
    UNION ALL
    SELECT created, rank FROM listings {index} WHERE {conditions} AND audience = {audience}
    ORDER BY created DESC, rank DESC
    LIMIT +:count
) AS page CROSS JOIN images ON position = -rank  -- CROSS: in this order
ORDER BY page.created DESC, page.rank DESC
"""

# Few changes are gathered by their index and sorted, many are met soon enough on a walk in the order of the answer,
# from which a + keeps that index.
_FEW = 20_000
_COUNT_CHANGES = f"""
SELECT count(*) FROM (
    SELECT 1 FROM listings WHERE audience IN ({EVERYONE}, {_AUDIENCE}) AND updated >= unixepoch(:since) LIMIT +:few
)
"""  # noqa: S608 what is put in is ours

_KEY = """
SELECT unixepoch(created), -position FROM images
WHERE id = :id
  AND (
    visibility IN ('public', 'community')
    OR owner = :tenant
    OR visibility = 'shared' AND :tenant IN (SELECT value FROM json_each(members))
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
        tenant_id = comparable(tenant)
        size = min(query.limit or at_most, at_most)
        filters = list(_filters(query))
        if query.changes_since is not None:
            filters.insert(0, self._changed(utc(query.changes_since), tenant_id))
        if query.marker is not None:
            filters.append(self._after(query.marker, tenant))
        statement = _PAGE.format(
            columns=_COLUMNS,
            conditions=" AND ".join(each.clause for each in filters) or "true",
            index=next((f"INDEXED BY {each.index}" for each in filters if each.index), ""),
            everyone=EVERYONE,
            audience=_AUDIENCE,
        )
        values = {"tenant": tenant_id, "count": size + 1}
        rows = self._rows(statement, {name: value for each in filters for name, value in each.values.items()} | values)
        return Page([Image._make(row) for row in rows[:size]], more=len(rows) > size)

    def version(self) -> Version:
        """Tell which state of the catalog this thread sees: equal versions are one state. Raises CatalogUnavailable."""
        return int(self._rows("PRAGMA data_version", {})[0][0])

    def _changed(self, since: str, tenant: str) -> Filter:
        ((changes,),) = self._rows(_COUNT_CHANGES, {"since": since, "tenant": tenant, "few": _FEW})
        few = changes < _FEW
        return Filter(
            "updated >= unixepoch(:since)" if few else "+updated >= unixepoch(:since)",
            {"since": since},
            "listings_by_change" if few else "",
        )

    def _after(self, marker: str, tenant: str) -> Filter:
        rows = self._rows(_KEY, {"id": marker, "tenant": comparable(tenant)})
        if not rows:
            raise BadParameter("marker", f": {quote(marker)} is not the id of an image that {tenant} can see")
        return Filter("(created, rank) < (:created, :rank)", {"created": rows[0][0], "rank": rows[0][1]})

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


def _filters(query: Query) -> Iterator[Filter]:
    """Give the filters that are asked for.

    Those that find the fewest images come first, as their index is taken: SQLite knows no numbers of the catalog.
    """
    if query.server is not None:
        yield Filter("server = :server", {"server": _last_segment(query.server)}, "listings_by_server")
    if query.name is not None:
        yield Filter("name = :name", {"name": query.name}, "listings_by_name")
    if query.type_ in {"BASE", "SERVER"}:
        yield Filter("origin = :type", {"type": query.type_}, "listings_by_origin")
    elif query.type_ not in {None, "ALL"}:
        yield Filter("image_type = :type", {"type": query.type_}, "listings_by_type")
    if query.status is not None:
        yield Filter("status = :status", {"status": query.status}, "listings_by_status")
    elif query.changes_since is None:
        yield Filter("status <> 'DELETED'", {})


def _last_segment(uri: str) -> str:
    path = _URI_PATH.match(uri)
    return unquote(path[1].rpartition("/")[2]) if path else ""


def _identity(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError as error:
        raise CatalogUnavailable(f"{path}: {error}") from error
    return status.st_dev, status.st_ino
