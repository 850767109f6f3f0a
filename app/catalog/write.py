"""Writing images: a set at a time, each with its listings."""

from collections.abc import Iterable
from itertools import islice
from typing import NamedTuple

import orjson
from sqlite_utils import Database

from app.timestamps import days_ago, now


class Record(NamedTuple):
    """All that the catalog keeps of an image. The metadata and the members are JSON, in the form of `as_json`."""

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


class Learned(NamedTuple):
    """When a copy learned something: in seconds since 1970, and in its own count; both None in other catalogs."""

    seconds: int | None = None
    turn: int | None = None


_AT_ONCE = 100_000  # images

# Images are written a set at a time, and listed in the order of the listings: a large catalog's pages are so touched
# one after the other, and few of them twice.
COLUMNS = ", ".join(Record._fields)
_LOADED = f"CREATE TEMP TABLE IF NOT EXISTS loaded ({COLUMNS}, PRIMARY KEY (id))"
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
INSERT INTO images ({COLUMNS}, deleted_at, learned, turn)
SELECT *, :deleted_at, :seconds, :turn FROM temp.loaded WHERE true ORDER BY rowid
ON CONFLICT (id) DO UPDATE SET ({COLUMNS}, deleted_at, learned, turn)
    = ({", ".join(f"excluded.{column}" for column in Record._fields)}, excluded.deleted_at, :seconds, :turn)
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
SELECT audience, deleted, visible.created, rank, changed, kind, visible.min_disk, visible.min_ram,
       visible.name, server
FROM temp.loaded NOT INDEXED CROSS JOIN visible USING (id)
WHERE true
ORDER BY audience, deleted, visible.created, rank
ON CONFLICT DO NOTHING  -- an owner may be a member too
"""
_PURGE = (
    """
    DELETE FROM listings WHERE (audience, deleted, created, rank) IN (
        SELECT audience, deleted, visible.created, rank FROM images CROSS JOIN visible USING (id)
        WHERE deleted_at <= :before
    )
    """,
    "DELETE FROM images WHERE deleted_at <= :before",
)


def as_json(value: object) -> str:
    """Write JSON in one form, so that what is equal is the same text."""
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def write(
    db: Database, records: Iterable[Record], *, deleted_at: str | None = None, learned: Learned | None = None
) -> tuple[int, int]:
    """Write images and their listings, which a copy learned. Give how many are new, and how many changed."""
    db.execute(_LOADED)
    values = {"deleted_at": deleted_at} | (learned or Learned())._asdict()
    last, written = _number(db, _LAST), 0
    waiting = iter(records)
    while some := list(islice(waiting, _AT_ONCE)):
        db.conn.executemany(_STAGE, some)
        db.execute(_DROP_UNCHANGED)
        db.execute(_UNLIST)
        written += db.execute(_UPSERT, values).rowcount
        db.conn.executemany(_NAME_AUDIENCE, ((tenant,) for tenant in _tenants(some)))
        db.execute(_NAME_KINDS)
        db.execute(_LIST)
        db.execute("DELETE FROM temp.loaded")
    new = _number(db, _LAST) - last  # none is left out
    return new, written - new


def bury(db: Database, records: Iterable[Record], *, learned: Learned | None = None) -> int:
    """Turn images of the catalog into tombstones, from which `purge` can tell when they were made. Give how many."""
    time = now()
    tombstones = (
        record._replace(status="DELETED", progress=0, updated=max(time, record.updated)) for record in records
    )
    return write(db, tombstones, deleted_at=time, learned=learned)[1]


def purge(db: Database, days: int) -> None:
    """Remove the tombstones that were made here, and not by a file, so many days ago or earlier."""
    for statement in _PURGE:
        db.execute(statement, {"before": days_ago(days)})


def clear(db: Database) -> None:
    """Remove all images and tombstones, without a trace."""
    db.execute("DELETE FROM listings")
    db.execute("DELETE FROM images")


def _number(db: Database, query: str) -> int:
    return int(db.execute(query).fetchone()[0])


def _tenants(records: Iterable[Record]) -> set[str]:
    """Give whoever has images in a list of their own: owners and members."""
    members = {tenant for record in records for tenant in orjson.loads(record.members)}
    return members | {record.owner for record in records if record.owner is not None}
