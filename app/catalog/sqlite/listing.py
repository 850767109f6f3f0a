"""Searching: which lists make up a page, and along which index each of them is searched."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from urllib.parse import unquote

from sqlite_utils.utils import sqlite3  # type: ignore[attr-defined]

from app.catalog.models import ImageFilters
from app.catalog.sqlite.schema import EVERYONE, VISIBLE
from app.errors import InvalidParameter
from app.text import normalize_project_id, quote
from app.timestamps import utc


class _IndexPartition(NamedTuple):
    """The images of an audience, or its tombstones."""

    audience: str  # as SQL has it
    deleted: bool


@dataclass(frozen=True)
class _IndexFilter:
    """A condition on listings, and the index that finds those which meet it.

    The index has the order of the answer, within each of the parts where the condition has some; or it has not.
    """

    condition: str
    index: str = ""
    parts: Sequence[str] | None = None
    ordered: bool = True


_NO_FILTER = _IndexFilter("")
# Listings: to gather and sort more takes longer than most walks in the order of the answer, which end with the page.
_PROBE_LIMIT, _PROBE_LIMIT_PAGES = 1_000, 10

# The + of a LIMIT keeps SQLite from planning anew for each number that it is given.
_COUNT = "SELECT count(*) FROM (SELECT 1 FROM {listings} AND {condition} LIMIT +:most)"
_AUDIENCE_ID = "SELECT id FROM audiences WHERE tenant = :tenant"
_STATUS_TYPES = """
SELECT id FROM kinds
WHERE (status = 'DELETED') = :deleted
  AND (:status IS NULL OR status = :status)
  AND CASE :type WHEN 'ALL' THEN true WHEN 'SERVER' THEN type <> 'BASE' ELSE type = :type END
"""
_CURSOR = f"SELECT unixepoch(created), -position FROM images WHERE id = :marker AND {VISIBLE}"  # noqa: S608 ours

# The path of a URI reference, as RFC 3986 (appendix B) finds it. Python's urlsplit fails on some that the RFC allows.
_URI_PATH = re.compile(r"(?:[^:/?#]+:)?(?://[^/?#]*)?([^?#]*)")


class ListingQuery:
    """The search for what a tenant asked for, in one state of the catalog."""

    def __init__(self, connection: sqlite3.Connection, tenant: str, query: ImageFilters, count: int) -> None:
        """Find out whose lists there are, and where the page of so many images begins.

        Raises BadParameter for a marker that names nothing which the tenant can see.
        """
        self._connection = connection
        self._query = query
        self._few = max(_PROBE_LIMIT, _PROBE_LIMIT_PAGES * count)
        self.values: dict[str, Any] = {
            "tenant": normalize_project_id(tenant),
            "since": query.changes_since and utc(query.changes_since),
            "server": query.server and _last_segment(query.server),
            "name": query.name,
            "status": query.status,
            "type": query.type_ or "ALL",
            "min_ram": query.min_ram,
            "min_disk": query.min_disk,
            "marker": query.marker,
            "count": count,
        }
        self.values["audience"] = next((id_ for (id_,) in self._rows(_AUDIENCE_ID)), None)
        if query.marker is not None:
            self.values |= self._place(query.marker, tenant)
        self._after = [] if query.marker is None else ["(created, rank) < (:created, :rank)"]

    def walks(self) -> Iterator[str]:
        """Give what is to be merged: SELECTs of the key of listings, each in the order of the answer."""
        for each in self._lists():
            filters = list(self._filters(each))
            if any(one.parts == [] for one in filters):  # there is nothing of the kind
                continue
            lead = self._lead(each, filters)
            # A + keeps their indexes out of it: even where the table's own order is wanted, no INDEXED BY can say so.
            rest = [f"+{other.condition}" for other in filters if other is not lead] + self._after
            for part in [lead.condition] if lead.parts is None else lead.parts:
                conditions = "".join(f" AND {condition}" for condition in [part, *rest] if condition)
                yield f"SELECT created, rank FROM {_index_scan(each, lead)}{conditions}"  # noqa: S608 all ours

    def _lists(self) -> Iterator[_IndexPartition]:
        query = self._query
        for audience in [str(EVERYONE)] if self.values["audience"] is None else [str(EVERYONE), ":audience"]:
            if query.status != "DELETED":
                yield _IndexPartition(audience, deleted=False)
            if query.status == "DELETED" or (query.status is None and query.changes_since is not None):
                yield _IndexPartition(audience, deleted=True)

    def _filters(self, each: _IndexPartition) -> Iterator[_IndexFilter]:
        query = self._query
        if query.server is not None:
            yield _IndexFilter("server = :server", "listings_by_server")
        if query.name is not None:
            yield _IndexFilter("name = :name", "listings_by_name")
        if query.status is not None or query.type_ not in {None, "ALL"}:
            kinds = [str(kind) for (kind,) in self._rows(_STATUS_TYPES, deleted=each.deleted)]
            parts = [f"kind = {kind}" for kind in kinds]
            yield _IndexFilter(f"kind IN ({', '.join(kinds)})", "listings_by_kind", parts)
        for name, amount in (("min_ram", query.min_ram), ("min_disk", query.min_disk)):
            if amount:
                yield _IndexFilter(f"{name} = :{name} AND {name} <> 0", f"listings_by_{name}")
            elif amount == 0:  # as most images have it: these are met soon enough
                yield _IndexFilter(f"{name} = 0")
        if query.changes_since is not None:
            yield _IndexFilter("changed >= unixepoch(:since)", "listings_by_change", ordered=False)

    def _lead(self, each: _IndexPartition, filters: Sequence[_IndexFilter]) -> _IndexFilter:
        """Choose the filter whose index is taken: the one that finds the fewest listings.

        SQLite would have to guess, as it knows no numbers of the catalog. Where all find many, these are likely to be
        met soon on a walk in the order of the answer.
        """
        ordered = [one for one in filters if one.index and one.ordered]
        unordered = [one for one in filters if one.index and not one.ordered]
        lead, least = [*ordered, _NO_FILTER][0], self._few
        if unordered or len(ordered) > 1:
            for way in [*unordered, *ordered]:
                count = self._count(each, way, least) if least else 0
                if count < least:
                    lead, least = way, count
        return lead

    def _count(self, each: _IndexPartition, way: _IndexFilter, most: int) -> int:
        statement = _COUNT.format(listings=_index_scan(each, way), condition=way.condition)
        return int(self._rows(statement, most=most)[0][0])

    def _place(self, marker: str, tenant: str) -> dict[str, int]:
        for created, rank in self._rows(_CURSOR):
            return {"created": created, "rank": rank}
        raise InvalidParameter("marker", f": {quote(marker)} is not the id of an image that {tenant} can see")

    def _rows(self, statement: str, **values: Any) -> list[Any]:
        return self._connection.execute(statement, self.values | values).fetchall()


def _index_scan(each: _IndexPartition, way: _IndexFilter) -> str:
    index = f"INDEXED BY {way.index} " if way.index else ""
    return f"listings {index}WHERE audience = {each.audience} AND deleted = {int(each.deleted)}"


def _last_segment(uri: str) -> str:
    path = _URI_PATH.match(uri)
    return unquote(path[1].rpartition("/")[2]) if path else ""
