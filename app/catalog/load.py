"""Loading and exporting images: what the command does with a catalog, each in one transaction."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import orjson
from sqlite_utils import Database

from app.catalog.schema import State, reading, state, writing
from app.faults import CatalogUnavailable
from app.timestamps import now


class Record(NamedTuple):
    """All that the catalog keeps of an image. The metadata and the members are JSON."""

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
    owner: str | None
    visibility: str
    members: str


class Loaded(NamedTuple):
    """What loading did to the catalog, in images."""

    new: int = 0
    changed: int = 0
    unchanged: int = 0
    pruned: int = 0


_AT_ONCE = 100_000  # images

# Images are written a set at a time, and listed in the order of the listings: a large catalog's pages are so touched
# one after the other, and few of them twice.
_COLUMNS = ", ".join(Record._fields)
_LOADED = f"CREATE TEMP TABLE loaded ({_COLUMNS}, PRIMARY KEY (id))"
_STAGE = f"INSERT INTO temp.loaded VALUES ({', '.join('?' for _ in Record._fields)})"  # noqa: S608 only ? is put in
_DROP_UNCHANGED = f"""
DELETE FROM temp.loaded WHERE EXISTS (
    SELECT 1 FROM images WHERE images.id = loaded.id
    AND ({", ".join(f"images.{column}" for column in Record._fields)})
     IS ({", ".join(f"loaded.{column}" for column in Record._fields)})
)
"""  # noqa: S608 only the names of columns are put in
_UNLIST = """
DELETE FROM listings WHERE (audience, deleted, created, rank) IN (
    SELECT audience, deleted, visible.created, rank FROM temp.loaded NOT INDEXED CROSS JOIN visible USING (id)
)
"""
# An image that changed keeps its place: REPLACE would not let it.
_UPSERT = f"""
INSERT INTO images ({_COLUMNS}) SELECT * FROM temp.loaded WHERE true ORDER BY rowid
ON CONFLICT (id) DO UPDATE SET ({_COLUMNS}) = ({", ".join(f"excluded.{column}" for column in Record._fields)})
"""  # noqa: S608 likewise
_LAST = "SELECT coalesce(max(position), 0) FROM images"
_NAME_AUDIENCE = "INSERT INTO audiences (tenant) VALUES (?) ON CONFLICT DO NOTHING"
_NAME_KINDS = """
INSERT INTO kinds (status, type) SELECT DISTINCT images.status, type FROM temp.loaded CROSS JOIN images USING (id)
WHERE true  -- or ON would belong to the join
ON CONFLICT DO NOTHING
"""
_LIST = """
INSERT INTO listings
SELECT audience, deleted, visible.created, rank, visible.updated, kind, visible.name, server
FROM temp.loaded NOT INDEXED CROSS JOIN visible USING (id)
WHERE true
ORDER BY audience, deleted, visible.created, rank
ON CONFLICT DO NOTHING  -- an owner may be a member too
"""

_OWNED = f"SELECT {_COLUMNS} FROM images WHERE owner IS :owner AND status <> 'DELETED'"  # noqa: S608 likewise

_EXPORT = f"""
SELECT {_COLUMNS} FROM images
WHERE (:owner IS NULL OR owner = :owner) AND (:deleted OR status <> 'DELETED')
ORDER BY position
"""  # noqa: S608 only the names of columns are put in


def load(
    path: Path,
    records: Sequence[Record],
    *,
    owner: str | None = None,
    prune: bool = False,
    watch: Callable[[Sequence[Record]], Iterable[Record]] = iter,
) -> Loaded:
    """Put images into the catalog, each id once; what is in it already keeps its place in the order.

    With `prune`, they are all that the owner has (None: all that nobody has): its others become tombstones. `watch`
    passes the records on as they are written. Raises CatalogUnavailable.
    """
    with writing(path) as db:
        db.execute(_LOADED)
        new, changed = _write(db, watch(records))
        _, pruned = _write(db, _tombstones(db, records, owner)) if prune else (0, 0)
    return Loaded(new, changed, len(records) - new - changed, pruned)


def prepare(path: Path, sample: Callable[[], Sequence[Record]]) -> int:
    """Bring the file to a catalog of this version: from the sample where there is none, as it is where there is.

    Gives how many images came from the sample. One that is current is not written to. Raises CatalogUnavailable.
    """
    found = state(path)
    if found is State.CURRENT:
        return 0
    return load(path, sample() if found is State.NOTHING else []).new


def export(path: Path, *, owner: str | None = None, deleted: bool = False) -> Iterator[Record]:
    """Give the images of the catalog, or of one owner, in its order; tombstones on demand.

    Raises CatalogUnavailable.
    """
    found = state(path)
    if found is not State.CURRENT:
        raise CatalogUnavailable(f"{path} holds {found.value}")
    with closing(reading(path)) as db:
        yield from map(Record._make, db.execute(_EXPORT, {"owner": owner, "deleted": deleted}))


def _write(db: Database, records: Iterable[Record]) -> tuple[int, int]:
    """Write images and their listings. Give how many are new, and how many changed."""
    last, written = _number(db, _LAST), 0
    waiting = iter(records)
    while some := list(islice(waiting, _AT_ONCE)):
        db.conn.executemany(_STAGE, some)
        db.execute(_DROP_UNCHANGED)
        db.execute(_UNLIST)
        written += db.execute(_UPSERT).rowcount
        db.conn.executemany(_NAME_AUDIENCE, ((tenant,) for tenant in _tenants(some)))
        db.execute(_NAME_KINDS)
        db.execute(_LIST)
        db.execute("DELETE FROM temp.loaded")
    new = _number(db, _LAST) - last  # no position is ever left out, or given up
    return new, written - new


def _number(db: Database, query: str) -> int:
    return int(db.execute(query).fetchone()[0])


def _tenants(records: Iterable[Record]) -> set[str]:
    """Give whoever has images in a list of their own: owners and members."""
    members = {tenant for record in records for tenant in orjson.loads(record.members)}
    return members | {record.owner for record in records if record.owner is not None}


def _tombstones(db: Database, records: Sequence[Record], owner: str | None) -> list[Record]:
    """Give what is left of the owner's images that the records lack."""
    kept = {record.id for record in records}
    owned = map(Record._make, db.execute(_OWNED, {"owner": owner}))
    time = now()
    return [record._replace(status="DELETED", progress=0, updated=time) for record in owned if record.id not in kept]
