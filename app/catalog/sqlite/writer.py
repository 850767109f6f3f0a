"""Writes to the catalog: images in batches, with their index entries."""

from collections.abc import Iterable, Iterator
from dataclasses import fields
from itertools import islice
from operator import attrgetter
from typing import TypeVar

import orjson
from sqlite_utils import Database

from app.catalog.engine import SchemaState
from app.catalog.models import Record, StoredImage, SyncMark, Token, Upstream
from app.catalog.sqlite.reader import COLUMNS, SQLiteSnapshot

BATCH_SIZE = 100_000  # images
_FIELDS = [field.name for field in fields(StoredImage)]
_to_row = attrgetter(*_FIELDS)
_OTHER_FIELDS = ("deleted_at", *SyncMark._fields)
_Item = TypeVar("_Item")

# Images are written in batches, and the index entries of a batch in the order of the index, so that each page of a
# large catalog is touched only once for each batch.
_CREATE_STAGING = f"CREATE TEMP TABLE IF NOT EXISTS staged ({COLUMNS}, {', '.join(_OTHER_FIELDS)})"
_STAGE = f"INSERT INTO temp.staged ({COLUMNS}) VALUES ({', '.join('?' for _ in _FIELDS)})"  # noqa: S608 no user input
_STAGE_RECORD = f"INSERT INTO temp.staged VALUES ({', '.join('?' for _ in (*_FIELDS, *_OTHER_FIELDS))})"  # noqa: S608 no user input
_DROP_UNCHANGED = f"""
DELETE FROM temp.staged WHERE EXISTS (
    SELECT 1 FROM images WHERE images.id = staged.id
    AND ({", ".join(f"images.{column}" for column in _FIELDS)})
     IS ({", ".join(f"staged.{column}" for column in _FIELDS)})
)
"""  # noqa: S608 no user input
_DELETE_INDEX_ENTRIES = """
DELETE FROM image_index WHERE (audience, deleted, created, sort_key) IN (
    SELECT audience, deleted, image_index_entries.created, sort_key
    FROM temp.staged CROSS JOIN image_index_entries USING (id)
)
"""
# An image that changes keeps its sequence number. REPLACE would give it a new one.
_UPSERT = f"""
INSERT INTO images ({COLUMNS}, {", ".join(_OTHER_FIELDS)})
SELECT {COLUMNS}, {", ".join(f"coalesce({column}, :{column})" for column in _OTHER_FIELDS)}
FROM temp.staged WHERE true ORDER BY rowid
ON CONFLICT (id) DO UPDATE SET ({COLUMNS}, {", ".join(_OTHER_FIELDS)})
    = ({", ".join(f"excluded.{column}" for column in (*_FIELDS, *_OTHER_FIELDS))})
"""  # noqa: S608 no user input
_LAST_SEQUENCE = "SELECT coalesce(max(sequence), 0) FROM images"
_ADD_AUDIENCE = "INSERT INTO audiences (project_id) VALUES (?) ON CONFLICT DO NOTHING"
_ADD_STATUS_TYPES = """
INSERT INTO status_types (status, type)
SELECT DISTINCT images.status, type FROM temp.staged CROSS JOIN images USING (id)
WHERE true  -- without it, ON would belong to the join
ON CONFLICT DO NOTHING
"""
_INSERT_INDEX_ENTRIES = """
INSERT INTO image_index
SELECT audience, deleted, image_index_entries.created, sort_key, changed, status_type, image_index_entries.min_disk,
       image_index_entries.min_ram, image_index_entries.name, server
FROM temp.staged CROSS JOIN image_index_entries USING (id)
WHERE true
ORDER BY audience, deleted, image_index_entries.created, sort_key
ON CONFLICT DO NOTHING  -- an owner may also be a member
"""
_DELETE_MEMBERS = """
DELETE FROM image_members WHERE sequence IN (
    SELECT sequence FROM temp.staged CROSS JOIN images USING (id) WHERE images.visibility = 'shared'
)
"""
_INSERT_MEMBERS = tuple(
    f"""
    INSERT INTO image_members
    SELECT sequence, each.value
    FROM temp.staged CROSS JOIN images USING (id) CROSS JOIN json_each(staged.{column}) AS each
    WHERE staged.visibility = 'shared' AND staged.{column} <> '[]'
    ON CONFLICT DO NOTHING  -- a file may state a project twice
    """  # noqa: S608 no user input
    for column in ("members", "pending_members")
)
_PURGE = (
    "DELETE FROM image_members WHERE sequence IN (SELECT sequence FROM images WHERE deleted_at <= :before)",
    """
    DELETE FROM image_index WHERE (audience, deleted, created, sort_key) IN (
        SELECT audience, deleted, image_index_entries.created, sort_key
        FROM images CROSS JOIN image_index_entries USING (id)
        WHERE deleted_at <= :before
    )
    """,
    "DELETE FROM images WHERE deleted_at <= :before",
)
_ADD_TOKEN = f"INSERT INTO tokens ({', '.join(Token._fields)}, hash) VALUES (?, ?, ?, ?, ?, ?)"  # noqa: S608 no user input


class SQLiteTransaction(SQLiteSnapshot):
    """Reads and writes of one transaction. Implements `app.catalog.engine.Transaction`."""

    def __init__(self, db: Database, batch_size: int, *, state_before: SchemaState) -> None:
        super().__init__(db.conn)
        self.state_before = state_before
        self._executemany = db.conn.executemany
        self._batch_size = batch_size

    def upsert_images(
        self, images: Iterable[StoredImage], *, deleted_at: str | None = None, mark: SyncMark | None = None
    ) -> tuple[int, int]:
        """Write images and their index entries. Return how many are new, and how many changed."""
        last, written = self._scalar(_LAST_SEQUENCE), 0
        for batch in self._batches(images):
            self._executemany(_STAGE, map(_to_row, batch))
            written += self._write_staged(batch, deleted_at, mark or SyncMark())
        new = self._scalar(_LAST_SEQUENCE) - last  # new images have consecutive sequence numbers
        return new, written - new

    def insert_records(self, records: Iterable[Record]) -> None:
        """Add images and tombstones, in this order and unchanged, to a catalog that has none."""
        for batch in self._batches(records):
            self._executemany(
                _STAGE_RECORD, ((*_to_row(image), deleted_at, *mark) for image, deleted_at, mark in batch)
            )
            self._write_staged([record.image for record in batch], None, SyncMark())

    def purge_tombstones(self, before: str) -> None:
        """Remove the tombstones that the service created at or before a time (UTC). Imported tombstones remain."""
        for statement in _PURGE:
            self._execute(statement, {"before": before})

    def delete_images(self) -> None:
        """Remove all images and tombstones."""
        self._execute("DELETE FROM image_index")
        self._execute("DELETE FROM image_members")
        self._execute("DELETE FROM images")

    def set_upstream(self, upstream: Upstream | None) -> None:
        """Set the image service that the catalog replicates, and its state; None: the catalog is not a replica."""
        self._execute("DELETE FROM upstream")
        if upstream:
            self._execute("INSERT INTO upstream (url, is_admin, synced_at, revision) VALUES (?, ?, ?, ?)", upstream)

    def add_token(self, token: Token, secret_hash: bytes) -> None:
        """Store a token."""
        self._execute(_ADD_TOKEN, (*token, secret_hash))

    def delete_token(self, token_id: str) -> None:
        """Remove a token, if it exists."""
        self._execute("DELETE FROM tokens WHERE id = ?", [token_id])

    def _batches(self, items: Iterable[_Item]) -> Iterator[list[_Item]]:
        """Yield lists of items to stage, and empty the staging table after each."""
        self._execute(_CREATE_STAGING)
        pending = iter(items)
        while batch := list(islice(pending, self._batch_size)):
            yield batch
            self._execute("DELETE FROM temp.staged")

    def _write_staged(self, images: Iterable[StoredImage], deleted_at: str | None, mark: SyncMark) -> int:
        """Write the staged images and their index entries. Return how many are new or changed.

        `deleted_at` and `mark` are the values of rows that do not contain their own.
        """
        self._execute(_DROP_UNCHANGED)
        self._execute(_DELETE_INDEX_ENTRIES)
        self._execute(_DELETE_MEMBERS)
        written = self._execute(_UPSERT, {"deleted_at": deleted_at} | mark._asdict()).rowcount
        self._executemany(_ADD_AUDIENCE, ((project_id,) for project_id in _audiences(images)))
        self._execute(_ADD_STATUS_TYPES)
        self._execute(_INSERT_INDEX_ENTRIES)
        for statement in _INSERT_MEMBERS:
            self._execute(statement)
        return written

    def _scalar(self, query: str) -> int:
        return int(self._execute(query).fetchone()[0])


def _audiences(images: Iterable[StoredImage]) -> set[str]:
    """Return the projects that own an image or accepted a shared one."""
    members = {project_id for image in images for project_id in orjson.loads(image.members)}
    return members | {image.owner for image in images if image.owner is not None}
