"""Writing images: a set at a time, each with its listings."""

from collections.abc import Iterable
from itertools import islice

import orjson
from sqlite_utils import Database

from app.catalog.models import StoredImage, SyncMark
from app.timestamps import days_ago, now

_BATCH_SIZE = 100_000  # images

# Images are written a set at a time, and listed in the order of the listings: a large catalog's pages are so touched
# one after the other, and few of them twice.
COLUMNS = ", ".join(StoredImage._fields)
_CREATE_STAGING = f"CREATE TEMP TABLE IF NOT EXISTS loaded ({COLUMNS}, PRIMARY KEY (id))"
_STAGE = f"INSERT INTO temp.loaded VALUES ({', '.join('?' for _ in StoredImage._fields)})"  # noqa: S608 only ? is put in
_DROP_UNCHANGED = f"""
DELETE FROM temp.loaded WHERE EXISTS (
    SELECT 1 FROM images WHERE images.id = loaded.id
    AND ({", ".join(f"images.{column}" for column in StoredImage._fields)})
     IS ({", ".join(f"loaded.{column}" for column in StoredImage._fields)})
)
"""  # noqa: S608 only the names of columns are put in
_DELETE_INDEX_ENTRIES = """
DELETE FROM listings WHERE (audience, deleted, created, rank) IN (
    SELECT audience, deleted, visible.created, rank FROM temp.loaded NOT INDEXED CROSS JOIN visible USING (id)
)
"""
# An image that changed keeps its place: REPLACE would not let it.
_UPSERT = f"""
INSERT INTO images ({COLUMNS}, deleted_at, learned, turn)
SELECT *, :deleted_at, :seconds, :turn FROM temp.loaded WHERE true ORDER BY rowid
ON CONFLICT (id) DO UPDATE SET ({COLUMNS}, deleted_at, learned, turn)
    = ({", ".join(f"excluded.{column}" for column in StoredImage._fields)}, excluded.deleted_at, :seconds, :turn)
"""  # noqa: S608 likewise
_LAST_SEQUENCE = "SELECT coalesce(max(position), 0) FROM images"
_ADD_AUDIENCE = "INSERT INTO audiences (tenant) VALUES (?) ON CONFLICT DO NOTHING"
_ADD_STATUS_TYPES = """
INSERT INTO kinds (status, type) SELECT DISTINCT images.status, type FROM temp.loaded CROSS JOIN images USING (id)
WHERE true  -- or ON would belong to the join
ON CONFLICT DO NOTHING
"""
_INSERT_INDEX_ENTRIES = """
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


def upsert_images(
    db: Database, records: Iterable[StoredImage], *, deleted_at: str | None = None, learned: SyncMark | None = None
) -> tuple[int, int]:
    """Write images and their listings, which a copy learned. Give how many are new, and how many changed."""
    db.execute(_CREATE_STAGING)
    values = {"deleted_at": deleted_at} | (learned or SyncMark())._asdict()
    last, written = _scalar(db, _LAST_SEQUENCE), 0
    waiting = iter(records)
    while some := list(islice(waiting, _BATCH_SIZE)):
        db.conn.executemany(_STAGE, some)
        db.execute(_DROP_UNCHANGED)
        db.execute(_DELETE_INDEX_ENTRIES)
        written += db.execute(_UPSERT, values).rowcount
        db.conn.executemany(_ADD_AUDIENCE, ((tenant,) for tenant in _audiences(some)))
        db.execute(_ADD_STATUS_TYPES)
        db.execute(_INSERT_INDEX_ENTRIES)
        db.execute("DELETE FROM temp.loaded")
    new = _scalar(db, _LAST_SEQUENCE) - last  # none is left out
    return new, written - new


def write_tombstones(db: Database, records: Iterable[StoredImage], *, learned: SyncMark | None = None) -> int:
    """Turn images of the catalog into tombstones, from which `purge` can tell when they were made. Give how many."""
    time = now()
    tombstones = (
        record._replace(status="DELETED", progress=0, updated=max(time, record.updated)) for record in records
    )
    return upsert_images(db, tombstones, deleted_at=time, learned=learned)[1]


def purge_tombstones(db: Database, days: int) -> None:
    """Remove the tombstones that were made here, and not by a file, so many days ago or earlier."""
    for statement in _PURGE:
        db.execute(statement, {"before": days_ago(days)})


def delete_all(db: Database) -> None:
    """Remove all images and tombstones, without a trace."""
    db.execute("DELETE FROM listings")
    db.execute("DELETE FROM images")


def _scalar(db: Database, query: str) -> int:
    return int(db.execute(query).fetchone()[0])


def _audiences(records: Iterable[StoredImage]) -> set[str]:
    """Give whoever has images in a list of their own: owners and members."""
    members = {tenant for record in records for tenant in orjson.loads(record.members)}
    return members | {record.owner for record in records if record.owner is not None}
