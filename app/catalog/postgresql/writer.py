"""Writes to the catalog: images in batches, with their index entries."""

from collections.abc import Iterable, Sequence
from dataclasses import fields
from itertools import islice
from operator import attrgetter
from typing import Any

import orjson
from psycopg import Cursor

from app.catalog.engine import SchemaState
from app.catalog.index_values import listing_projects, type_and_server
from app.catalog.listing import EVERYONE
from app.catalog.models import Record, StoredImage, SyncMark, Token, Upstream
from app.catalog.postgresql.database import Connection
from app.catalog.postgresql.reader import PostgreSQLSnapshot
from app.catalog.postgresql.schema import INDEX_COLUMNS, index_entries, text_hash
from app.catalog.postgresql.statements import Row

BATCH_SIZE = 100_000  # images
_FIELDS = [field.name for field in fields(StoredImage)]
_to_row = attrgetter(*_FIELDS)

# A batch is first written to a temporary table. If the catalog already has an image, its row gets the sequence number
# of the stored image, and `is_unchanged`, which remains NULL for new images. `audiences` is written as text, which
# takes a fifth of the time that an array takes.
_COLUMNS = (*_FIELDS, "deleted_at", "synced_at", "revision", "status_type", "name_hash", "server_hash", "audiences")
_CREATE_STAGING = f"""
CREATE TEMPORARY TABLE staged ON COMMIT DROP AS
SELECT sequence, {", ".join(_COLUMNS[:-1])}, NULL::text AS audiences, NULL::boolean AS is_unchanged FROM images LIMIT 0
"""  # noqa: S608 no user input
_STAGE = f"COPY staged (sequence, {', '.join(_COLUMNS)}) FROM STDIN (FORMAT BINARY)"
_TYPES = (
    *("int8", "text", "text", "text", "int4", "text", "text", "int4", "int4", "int8", "text"),
    *("text", "text", "text", "text", "bool", "text", "int8", "int8", "int2", "bytea", "bytea", "text"),
)
_STAGED = ", ".join(f"staged.{column}{'::integer[]' if column == 'audiences' else ''}" for column in _COLUMNS)
_FIND_STORED = f"""
UPDATE staged SET sequence = images.sequence, is_unchanged =
    ({", ".join(f"images.{column}" for column in _FIELDS)})
    IS NOT DISTINCT FROM ({", ".join(f"staged.{column}" for column in _FIELDS)})
FROM images WHERE images.id = staged.id
"""  # noqa: S608 no user input
_DROP_UNCHANGED = "DELETE FROM staged WHERE is_unchanged"
_DELETE_INDEX_ENTRIES = """
DELETE FROM image_index USING ({entries}) AS entries
WHERE image_index.audience = entries.audience AND image_index.deleted = entries.deleted
  AND image_index.created = entries.created AND image_index.sort_key = entries.sort_key
"""
_STORED = "(SELECT images.* FROM staged JOIN images USING (sequence) WHERE is_unchanged IS NOT NULL)"
_DELETE_STORED = (
    _DELETE_INDEX_ENTRIES.format(entries=index_entries(_STORED)),
    f"DELETE FROM image_members USING {_STORED} AS image WHERE image_members.sequence = image.sequence",  # noqa: S608 no user input
)
_UPDATE = f"""
UPDATE images SET ({", ".join(_COLUMNS)}) = ROW ({_STAGED})
FROM staged WHERE is_unchanged IS NOT NULL AND images.sequence = staged.sequence
"""  # noqa: S608 no user input
_INSERT = f"""
INSERT INTO images (sequence, {", ".join(_COLUMNS)}) SELECT sequence, {_STAGED} FROM staged WHERE is_unchanged IS NULL
"""  # noqa: S608 no user input
# In the order of the index, so that each page of a large catalog is touched only once for each batch.
_INSERT_INDEX_ENTRIES = f"""
INSERT INTO image_index ({INDEX_COLUMNS})
{index_entries(f"(SELECT sequence, {_STAGED} FROM staged)")} ORDER BY audience, deleted, created, sort_key
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
_AUDIENCES = "SELECT project_id, id FROM audiences WHERE project_id = ANY(%s)"
_ADD_AUDIENCES = "INSERT INTO audiences (project_id) SELECT unnest(%s::text[]) RETURNING project_id, id"
_ADD_STATUS_TYPE = "INSERT INTO status_types (status, type) VALUES (%s, %s) RETURNING id"
_LAST_SEQUENCE = "SELECT coalesce(max(sequence), 0) FROM images"
_TOMBSTONES = "(SELECT * FROM images WHERE deleted_at <= %s)"
_HAS_TOMBSTONES = f"SELECT 1 FROM {_TOMBSTONES} AS image LIMIT 1"  # noqa: S608 no user input
_PURGE = (
    f"DELETE FROM image_members WHERE sequence IN (SELECT sequence FROM {_TOMBSTONES} AS image)",  # noqa: S608 no user input
    _DELETE_INDEX_ENTRIES.format(entries=index_entries(_TOMBSTONES)),
    "DELETE FROM images WHERE deleted_at <= %s",
)
_ADD_TOKEN = f"INSERT INTO tokens ({', '.join(Token._fields)}, hash) VALUES (%s, %s, %s, %s, %s, %s)"  # noqa: S608 no user input


class PostgreSQLTransaction(PostgreSQLSnapshot):
    """Reads and writes of one transaction. Implements `app.catalog.engine.Transaction`.

    No method changes the version of the catalog unless it changes the contents.
    """

    def __init__(self, connection: Connection, *, state_before: SchemaState, batch_size: int = BATCH_SIZE) -> None:
        super().__init__(connection)
        self.state_before = state_before
        self._batch_size = batch_size
        self._has_staging = False

    def upsert_images(
        self, images: Iterable[StoredImage], *, deleted_at: str | None = None, mark: SyncMark | None = None
    ) -> tuple[int, int]:
        """Write images and their index entries. Return how many are new, and how many changed."""
        mark = mark or SyncMark()
        return self._write(Record(image, deleted_at, mark) for image in images)

    def insert_records(self, records: Iterable[Record]) -> None:
        """Add images and tombstones, in this order and unchanged, to a catalog that has none."""
        self._write(records)

    def _write(self, records: Iterable[Record]) -> tuple[int, int]:
        """Write images in batches. Return how many are new, and how many changed."""
        new = changed = 0
        last = int(self._scalar(_LAST_SEQUENCE))
        pending = iter(records)
        while batch := list(islice(pending, self._batch_size)):
            added, updated = self._upsert(batch, last)
            last, new, changed = last + len(batch), new + added, changed + updated
        return new, changed

    def _upsert(self, batch: Sequence[Record], last: int) -> tuple[int, int]:
        self._stage(batch, last)
        stored = self._execute(_FIND_STORED).rowcount
        unchanged = self._execute(_DROP_UNCHANGED).rowcount if stored else 0
        if stored > unchanged:
            for statement in (*_DELETE_STORED, _UPDATE):
                self._execute(statement)
        if len(batch) > stored:
            self._execute(_INSERT)
        if len(batch) > unchanged:
            self._execute(_INSERT_INDEX_ENTRIES)
            self._execute(_INSERT_MEMBERS)
        return len(batch) - stored, stored - unchanged

    def _stage(self, batch: Sequence[Record], last: int) -> None:
        """Fill the staging table with a batch. The sequence numbers of the images follow the last one."""
        self._execute("TRUNCATE staged" if self._has_staging else _CREATE_STAGING)
        self._has_staging = True
        images = [record.image for record in batch]
        origins = [type_and_server(image) for image in images]
        audiences = self._audience_ids(images)
        status_types = self._status_type_ids(
            {(image.status, type_) for image, (type_, _) in zip(images, origins, strict=True)}
        )
        with self._connection.cursor() as cursor, cursor.copy(_STAGE.encode()) as copy:
            copy.set_types(_TYPES)
            for sequence, ((image, deleted_at, mark), (type_, server)) in enumerate(
                zip(batch, origins, strict=True), last + 1
            ):
                status_type = status_types[image.status, type_]
                hashes = (None if text is None else text_hash(text) for text in (image.name, server))
                listed = ",".join({str(audiences[project_id]) for project_id in listing_projects(image)})
                copy.write_row((sequence, *_to_row(image), deleted_at, *mark, status_type, *hashes, f"{{{listed}}}"))

    def _audience_ids(self, images: Iterable[StoredImage]) -> dict[str, int]:
        """Return the ids of the audiences of everyone, owners and members that accepted an image. Add new ones."""
        projects = {EVERYONE}.union(*(orjson.loads(image.members) for image in images if image.members != "[]"))
        projects.update(image.owner for image in images if image.owner is not None)
        ids: dict[str, int] = dict(self._execute(_AUDIENCES, [list(projects)]).fetchall())
        if new := projects - ids.keys():
            ids.update(self._execute(_ADD_AUDIENCES, [list(new)]).fetchall())
        return ids

    def _status_type_ids(self, pairs: set[tuple[str, str]]) -> dict[tuple[str, str], int]:
        ids = {
            (status, type_): number
            for status, type_, number in self._execute("SELECT status, type, id FROM status_types")
        }
        for pair in pairs - ids.keys():
            ids[pair] = self._execute(_ADD_STATUS_TYPE, pair).fetchall()[0][0]
        return ids

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

    def set_upstream(self, upstream: Upstream | None) -> None:
        """Set the image service that the catalog replicates, and its state; None: the catalog is not a replica."""
        stored = self.upstream()
        if stored and stored != upstream:
            self._execute("DELETE FROM upstream")
        if upstream and stored != upstream:
            self._execute("INSERT INTO upstream (url, is_admin, synced_at, revision) VALUES (%s, %s, %s, %s)", upstream)

    def add_token(self, token: Token, secret_hash: bytes) -> None:
        """Store a token."""
        self._execute(_ADD_TOKEN, (*token, secret_hash))

    def delete_token(self, token_id: str) -> None:
        """Remove a token, if it exists."""
        if self.find_token(token_id):
            self._execute("DELETE FROM tokens WHERE id = %s", [token_id])

    def _execute(self, statement: str, values: Sequence[Any] = ()) -> Cursor[Row]:
        return self._connection.execute(statement.encode(), values)

    def _scalar(self, query: str) -> Any:
        return self._execute(query).fetchall()[0][0]


def lock_catalog(connection: Connection) -> None:
    """Lock the catalog until the transaction ends, so that other writers wait. Raises LockNotAvailable of psycopg."""
    connection.execute("SELECT FROM catalog FOR UPDATE")
