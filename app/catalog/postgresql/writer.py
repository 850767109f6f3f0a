"""Writes to the catalog: images in batches, with their index entries."""

from collections.abc import Iterable, Sequence
from dataclasses import fields
from itertools import islice
from operator import attrgetter
from typing import Any

import orjson
from psycopg import Connection

from app.catalog.models import StoredImage, SyncMark, Token, Upstream
from app.catalog.postgresql.reader import COLUMNS, PostgreSQLSnapshot, Row
from app.catalog.postgresql.schema import INDEX_COLUMNS, index_entries, text_hash

BATCH_SIZE = 100_000  # images
_FIELDS = [field.name for field in fields(StoredImage)]
_to_row = attrgetter(*_FIELDS)

# A batch is written to a table of its own first. A row whose image the catalog has gets the sequence of that image.
_COLUMNS = f"{COLUMNS}, deleted_at, synced_at, revision, type, name_hash, server_hash"
_CREATE_STAGING = """
CREATE TEMPORARY TABLE staged (
    LIKE images, is_stored boolean NOT NULL DEFAULT false, is_unchanged boolean NOT NULL DEFAULT false
) ON COMMIT DROP
"""
_STAGE = f"COPY staged (sequence, {_COLUMNS}) FROM STDIN (FORMAT BINARY)"
_TYPES = (
    *("int8", "text", "text", "text", "int4", "text", "text", "int4", "int4", "int8", "text"),
    *("text", "text", "text", "text", "bool", "text", "int8", "int8", "text", "bytea", "bytea"),
)
_FIND_STORED = f"""
UPDATE staged SET sequence = images.sequence, is_stored = true, is_unchanged =
    ({", ".join(f"images.{column}" for column in _FIELDS)})
    IS NOT DISTINCT FROM ({", ".join(f"staged.{column}" for column in _FIELDS)})
FROM images WHERE images.id = staged.id
"""  # noqa: S608 no user input
_DROP_UNCHANGED = "DELETE FROM staged WHERE is_unchanged"
_STORED = "(SELECT images.* FROM staged JOIN images USING (sequence) WHERE is_stored)"
_DELETE_INDEX_ENTRIES = f"""
DELETE FROM image_index USING ({index_entries(_STORED)}) AS entries
WHERE image_index.audience = entries.audience AND image_index.deleted = entries.deleted
  AND image_index.created = entries.created AND image_index.sort_key = entries.sort_key
"""  # noqa: S608 no user input
_DELETE_MEMBERS = f"""
DELETE FROM image_members WHERE sequence IN (SELECT sequence FROM {_STORED} AS image WHERE visibility = 'shared')
"""  # noqa: S608 no user input
_UPDATE = f"""
UPDATE images SET ({_COLUMNS}) = ROW ({", ".join(f"staged.{column}" for column in _COLUMNS.split(", "))})
FROM staged WHERE is_stored AND images.sequence = staged.sequence
"""  # noqa: S608 no user input
_INSERT = f"""
INSERT INTO images (sequence, {_COLUMNS})
SELECT sequence, {_COLUMNS} FROM staged WHERE NOT is_stored ORDER BY sequence
"""  # noqa: S608 no user input
# In the order of the index, so that each page of a large catalog is touched only once for each batch.
_INSERT_INDEX_ENTRIES = f"""
INSERT INTO image_index ({INDEX_COLUMNS})
SELECT {INDEX_COLUMNS} FROM ({index_entries("staged")}) AS entries
ORDER BY audience, deleted, created, sort_key
ON CONFLICT DO NOTHING  -- an owner may also be a member
"""  # noqa: S608 no user input
_INSERT_MEMBERS = """
INSERT INTO image_members
SELECT DISTINCT sequence, project_id
FROM staged CROSS JOIN LATERAL (
    SELECT json_array_elements_text(members::json)
    UNION ALL SELECT json_array_elements_text(pending_members::json)
) AS projects (project_id)
WHERE visibility = 'shared'
"""
_LAST_SEQUENCE = "SELECT coalesce(max(sequence), 0) FROM images"
_TOMBSTONES = "(SELECT * FROM images WHERE deleted_at <= %s)"
_HAS_TOMBSTONES = f"SELECT 1 FROM {_TOMBSTONES} AS image LIMIT 1"  # noqa: S608 no user input
_PURGE = (
    f"DELETE FROM image_members WHERE sequence IN (SELECT sequence FROM {_TOMBSTONES} AS image)",  # noqa: S608 no user input
    f"""
    DELETE FROM image_index USING ({index_entries(_TOMBSTONES)}) AS entries
    WHERE image_index.audience = entries.audience AND image_index.deleted = entries.deleted
      AND image_index.created = entries.created AND image_index.sort_key = entries.sort_key
    """,  # noqa: S608 no user input
    "DELETE FROM images WHERE deleted_at <= %s",
)
_ADD_TOKEN = f"INSERT INTO tokens ({', '.join(Token._fields)}, hash) VALUES (%s, %s, %s, %s, %s, %s)"  # noqa: S608 no user input


class PostgreSQLTransaction(PostgreSQLSnapshot):
    """Reads and writes of one transaction. Implements `app.catalog.engine.Transaction`.

    No method changes the version of the catalog without changing what it contains.
    """

    def __init__(self, connection: Connection[Row], *, is_new: bool, batch_size: int = BATCH_SIZE) -> None:
        super().__init__(connection)
        self.is_new = is_new
        self._batch_size = batch_size
        self._has_staging = False

    def upsert_images(
        self, images: Iterable[StoredImage], *, deleted_at: str | None = None, mark: SyncMark | None = None
    ) -> tuple[int, int]:
        """Write images and their index entries. Return how many are new, and how many changed."""
        new = changed = 0
        last = int(self._scalar(_LAST_SEQUENCE))
        marks = (deleted_at, *(mark or SyncMark()))
        pending = iter(images)
        while batch := list(islice(pending, self._batch_size)):
            rows = [(last + number, *_to_row(image), *marks, *_derive(image)) for number, image in enumerate(batch, 1)]
            added, updated = self._upsert(rows, batch)
            last, new, changed = last + len(batch), new + added, changed + updated
        return new, changed

    def _upsert(self, rows: Sequence[Row], batch: Sequence[StoredImage]) -> tuple[int, int]:
        self._stage(rows)
        stored = self._execute(_FIND_STORED).rowcount
        unchanged = self._execute(_DROP_UNCHANGED).rowcount if stored else 0
        if unchanged < len(batch):
            if stored > unchanged:
                self._execute(_DELETE_INDEX_ENTRIES)
                self._execute(_DELETE_MEMBERS)
                self._execute(_UPDATE)
            if len(batch) > stored:
                self._execute(_INSERT)
            self._add_audiences(_audiences(batch))
            self._add_status_types({(image.status, row[-3]) for image, row in zip(batch, rows, strict=True)})
            self._execute(_INSERT_INDEX_ENTRIES)
            self._execute(_INSERT_MEMBERS)
        return len(batch) - stored, stored - unchanged

    def _stage(self, rows: Iterable[Row]) -> None:
        """Fill the staging table."""
        self._execute("TRUNCATE staged" if self._has_staging else _CREATE_STAGING)
        self._has_staging = True
        with self._connection.cursor() as cursor, cursor.copy(_STAGE.encode()) as copy:
            copy.set_types(_TYPES)
            for row in rows:
                copy.write_row(row)

    def _add_audiences(self, project_ids: set[str]) -> None:
        stored = self._execute("SELECT project_id FROM audiences WHERE project_id = ANY(%s)", [list(project_ids)])
        if new := project_ids.difference(project_id for (project_id,) in stored):
            self._execute("INSERT INTO audiences (project_id) SELECT unnest(%s::text[])", [list(new)])

    def _add_status_types(self, status_types: set[tuple[str, str]]) -> None:
        for pair in status_types.difference(self._execute("SELECT status, type FROM status_types")):
            self._execute("INSERT INTO status_types (status, type) VALUES (%s, %s)", pair)

    def purge_tombstones(self, before: str) -> None:
        """Remove the tombstones that the service created at or before a time (UTC). Imported tombstones remain."""
        if self._execute(_HAS_TOMBSTONES, [before]).fetchone():
            for statement in _PURGE:
                self._execute(statement, [before])

    def delete_images(self) -> None:
        """Remove all images and tombstones."""
        if self._scalar(_LAST_SEQUENCE):
            for table in ("image_index", "image_members", "images"):
                self._execute(f"DELETE FROM {table}")  # noqa: S608 no user input

    def set_upstream(self, upstream: Upstream) -> None:
        """Turn the catalog into a replica, or update what it stores about its upstream."""
        if self.upstream() != upstream:
            self._execute("DELETE FROM upstream")
            self._execute("INSERT INTO upstream (url, is_admin, synced_at, revision) VALUES (%s, %s, %s, %s)", upstream)

    def add_token(self, token: Token, secret_hash: bytes) -> None:
        """Store a token."""
        self._execute(_ADD_TOKEN, (*token, secret_hash))

    def delete_token(self, token_id: str) -> bool:
        """Remove a token. Return whether it existed."""
        exists = self.find_token(token_id) is not None
        if exists:
            self._execute("DELETE FROM tokens WHERE id = %s", [token_id])
        return exists

    def _scalar(self, query: str) -> Any:
        return self._execute(query).fetchall()[0][0]


def lock_catalog(connection: Connection[Row]) -> None:
    """Wait until no other transaction writes to the catalog, at most for `lock_timeout`, and keep others waiting."""
    connection.execute("SELECT FROM catalog FOR UPDATE")


def _derive(image: StoredImage) -> tuple[str, bytes | None, bytes | None]:
    """Return the type of an image, and the hashes of its name and of the id of its server."""
    metadata = orjson.loads(image.metadata)
    server, image_type = metadata.get("instance_uuid"), metadata.get("image_type")
    type_ = image_type if image_type in {"snapshot", "backup"} else "SERVER" if server else "BASE"
    return type_, None if image.name is None else text_hash(image.name), text_hash(server) if server else None


def _audiences(images: Iterable[StoredImage]) -> set[str]:
    """Return the projects that own an image or accepted a shared one."""
    members = {project_id for image in images for project_id in orjson.loads(image.members)}
    return members | {image.owner for image in images if image.owner is not None}
