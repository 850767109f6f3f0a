"""Reads of one state of the catalog, and their limits."""

import math
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import fields

import orjson
from sqlite_utils.utils import sqlite3  # type: ignore[attr-defined]

from app.catalog.errors import ReadLimitExceeded, SchemaMismatch
from app.catalog.listing import EVERYONE, Cursor, IndexScan, Partition, Probe
from app.catalog.models import (
    FoundPage,
    Image,
    ImageCount,
    Record,
    ReplicatedImage,
    StoredImage,
    SyncMark,
    Token,
    Upstream,
    Version,
    dump_json,
)
from app.catalog.sqlite.migrations import MIGRATIONS, migration_names
from app.catalog.sqlite.rows import require_types, to_image, to_record, to_token_with_hash, to_upstream
from app.catalog.sqlite.scans import count_query, page_query
from app.catalog.sqlite.schema import TOMBSTONE, VISIBLE

COLUMNS = ", ".join(field.name for field in fields(StoredImage))

_STATUS_TYPES = """
SELECT id FROM status_types
WHERE (status = 'DELETED') = :deleted
  AND (:status IS NULL OR status = :status)
  AND CASE :type WHEN 'ALL' THEN true WHEN 'SERVER' THEN type <> 'BASE' ELSE type = :type END
"""
_CURSOR = f"SELECT unixepoch(created), -sequence FROM images WHERE id = :id AND {VISIBLE}"  # noqa: S608 no user input
_IMAGES = f"""
SELECT sequence, {", ".join(f"images.{field.name}" for field in fields(Image))}
FROM json_each(?) CROSS JOIN images ON sequence = value  -- CROSS keeps this order
"""  # noqa: S608 no user input
_APPLIED_MIGRATIONS = "SELECT name FROM _sqlite_migrations WHERE migration_set = ?"
# Names every column that a page reads. If one is missing, this fails even if there are no images.
_PING = f"""
SELECT {", ".join(f"images.{field.name}" for field in fields(StoredImage))}, audience, deleted, image_index.created,
       changed, status_type, image_index.min_disk, image_index.min_ram, image_index.name, image_index.server
FROM image_index CROSS JOIN images ON sequence = -sort_key LIMIT 1
"""  # noqa: S608 no user input
_BATCH_SIZE = 100  # images; a read that exceeds its limits after a batch still stores the parts of the batch
# The most matches that are counted and sorted, on the event loop and in a thread. Sorting 20 000 of them takes 15 ms, a
# scan of 400 000 images in the order of the list 24 ms.
_LOOP_MATCHES, _THREAD_MATCHES = 1_000, 25_000
_PING_IMAGES = 200  # are read by each health check: all images of a small catalog
_SOME_IMAGES = f"SELECT {COLUMNS} FROM images LIMIT {_PING_IMAGES}"  # noqa: S608 no user input
_IMAGE = f"""
SELECT {COLUMNS} FROM images
WHERE id = :id AND NOT {TOMBSTONE} AND {VISIBLE}
"""  # noqa: S608 no user input
_OWNED = f"SELECT {COLUMNS} FROM images WHERE owner IS ? AND status <> 'DELETED'"  # noqa: S608 no user input
_EXPORT = f"""
SELECT {COLUMNS} FROM images
WHERE (:owner IS NULL OR owner = :owner) AND (:deleted OR status <> 'DELETED')
ORDER BY sequence
"""  # noqa: S608 no user input
_RECORDS = f"SELECT {COLUMNS}, deleted_at, {', '.join(SyncMark._fields)} FROM images ORDER BY sequence"  # noqa: S608 no user input
_REPLICATED = f"SELECT {COLUMNS}, coalesce(revision, 0), {TOMBSTONE} FROM images"  # noqa: S608 no user input
_SOME_REPLICATED = f"{_REPLICATED} WHERE id IN (SELECT value FROM json_each(?))"  # noqa: S608 no user input
_UPSTREAM = f"SELECT {', '.join(Upstream._fields)} FROM upstream"  # noqa: S608 no user input
_COUNTS = f"""
SELECT status, visibility, {TOMBSTONE} AS is_tombstone, count(*) AS count FROM images
GROUP BY status, visibility, is_tombstone ORDER BY count DESC, status, visibility
"""  # noqa: S608 no user input
_TOKENS = f"SELECT {', '.join(Token._fields)}, hash FROM tokens ORDER BY created, id"  # noqa: S608 no user input
_TOKEN = f"SELECT {', '.join(Token._fields)}, hash FROM tokens WHERE id = ?"  # noqa: S608 no user input


class ReadLimits:
    """The limits of a thread's reads, which its connection checks during a query.

    It has no reference to the connection, which refers to it: the connection would never be closed.
    """

    deadline = math.inf  # on the monotonic clock
    cpu_deadline = math.inf  # on the clock of the thread's CPU time
    max_images = math.inf  # of a page

    @property
    def are_for_event_loop(self) -> bool:
        """Whether a read that exceeds them is repeated in a thread: only on the event loop, CPU time is limited."""
        return self.cpu_deadline < math.inf

    def are_exceeded(self) -> bool:
        """Return whether a deadline has passed."""
        return time.thread_time() > self.cpu_deadline or time.monotonic() > self.deadline


class SQLiteSnapshot:
    """Reads within the transaction of a connection. Implements `app.catalog.engine.Snapshot`."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        limits: ReadLimits | None = None,
        version: Callable[[], Version | None] = lambda: None,
    ) -> None:
        """Set the limits beyond which reads raise ReadLimitExceeded, and a function that returns the version.

        The version is that of the state which the transaction has read, or None if it is not known.
        """
        self._execute: Callable[..., sqlite3.Cursor] = connection.execute
        self._limits = limits or ReadLimits()
        self._version = version

    def status_types(self, status: str | None, type_: str, *, deleted: bool) -> list[int]:
        """Return the ids of the pairs of status and type that match. None matches every status, ALL every type."""
        rows = self._execute(_STATUS_TYPES, {"status": status, "type": type_, "deleted": deleted})
        return [number for (number,) in rows.fetchall()]

    def cursor(self, project_id: str, marker: str) -> Cursor | None:
        """Return the position of an image in the order of the list; None if the project cannot see the image."""
        row = self._execute(_CURSOR, {"id": marker, "project_id": project_id}).fetchone()
        return row and Cursor._make(require_types(row, (int, int)))

    def max_matches(self, page_size: int) -> int:
        """Return the most matches of a filter that are worth counting, and sorting if necessary.

        On the event loop, the limit is low: if most images match, a scan in the order of the list soon finds the page.
        If few match, this scan exceeds the read limits, and the read is repeated in a thread, with a high limit.
        """
        return max(_LOOP_MATCHES, page_size) if self._limits.are_for_event_loop else _THREAD_MATCHES

    def count(self, probes: Sequence[Probe]) -> Sequence[int]:
        """Return the number of index entries that each probe finds, up to its limit."""
        counts: tuple[int, ...] = self._execute(*count_query(probes)).fetchone()
        return counts

    def find_page(self, scans: Sequence[IndexScan], count: int) -> FoundPage:
        """Return the first images that the scans find, merged in the order of the list."""
        if not scans:
            return FoundPage(None, [])
        statement, values = page_query(scans, count)
        (text,) = self._execute(statement, values).fetchone()
        sequences = orjson.loads(f"[{text or ''}]")
        if len(sequences) > self._limits.max_images:
            raise ReadLimitExceeded
        return FoundPage(self._version(), sequences)

    def read_images(self, sequences: Sequence[int], version: Version | None) -> Iterator[dict[int, Image]]:  # noqa: ARG002 it is the only one
        """Yield batches of images by sequence number, with unchecked values."""
        for start in range(0, len(sequences), _BATCH_SIZE):
            if start and self._limits.are_exceeded():
                raise ReadLimitExceeded
            batch = sequences[start : start + _BATCH_SIZE]
            yield {row[0]: Image(*row[1:]) for row in self._execute(_IMAGES, [dump_json(batch)])}

    def find_image(self, project_id: str, image_id: str) -> StoredImage | None:
        """Return an image that the project can see, which includes unlisted community images; None otherwise."""
        row = self._execute(_IMAGE, {"id": image_id, "project_id": project_id}).fetchone()
        return row and to_image(row)

    def contains(self, image_id: str) -> bool:
        """Return whether the catalog has an image or a tombstone with this id, visible to the caller or not."""
        return self._execute("SELECT 1 FROM images WHERE id = ?", [image_id]).fetchone() is not None

    def ping(self) -> None:
        """Raise SchemaMismatch, or an error of SQLite, unless the schema is current and images can be read."""
        applied = {name for (name,) in self._execute(_APPLIED_MIGRATIONS, [MIGRATIONS.name])}
        if applied != migration_names():
            raise SchemaMismatch
        self._execute(_PING).fetchone()
        for row in self._execute(_SOME_IMAGES):
            to_image(row)
        partitions = [Partition(audience, deleted=False) for audience in (EVERYONE, "")]
        page = self.find_page([IndexScan(partition, None, (), None) for partition in partitions], _PING_IMAGES)
        list(self.read_images(page.sequences, page.version))
        self.upstream()
        self.status_types(None, "ALL", deleted=False)

    def images_of(self, owner: str | None) -> list[StoredImage]:
        """Return the images that a project owns, or that nobody owns, without tombstones."""
        return [to_image(row) for row in self._execute(_OWNED, [owner])]

    def all_images(self, *, owner: str | None, deleted: bool) -> Iterator[StoredImage]:
        """Yield all images, or those of one owner, in the order in which they were added; tombstones optional."""
        for row in self._execute(_EXPORT, {"owner": owner, "deleted": deleted}):
            yield to_image(row)

    def records(self) -> Iterator[Record]:
        """Yield all images and tombstones, with all stored values, in the order in which they were added."""
        for row in self._execute(_RECORDS):
            yield to_record(row)

    def image_ids(self) -> set[str]:
        """Return the ids of all images, without tombstones."""
        return {image_id for (image_id,) in self._execute(f"SELECT id FROM images WHERE NOT {TOMBSTONE}")}  # noqa: S608 no user input

    def replicated_images(self, ids: Collection[str] | None) -> dict[str, ReplicatedImage]:
        """Return the images and tombstones with these ids (None: all of them), by id."""
        query, values = (_REPLICATED, []) if ids is None else (_SOME_REPLICATED, [dump_json(list(ids))])
        rows = self._execute(query, values)
        return {row[0]: ReplicatedImage(to_image(row[:-2]), row[-2], bool(row[-1])) for row in rows}

    def upstream(self) -> Upstream | None:
        """Return the image service that the catalog replicates; None if it is not a replica."""
        row = self._execute(_UPSTREAM).fetchone()
        return row and to_upstream(row)

    def find_token(self, token_id: str) -> tuple[Token, bytes] | None:
        """Return a token and the SHA-256 of its secret."""
        row = self._execute(_TOKEN, [token_id]).fetchone()
        return row and to_token_with_hash(row)

    def count_images(self) -> list[ImageCount]:
        """Count the images and tombstones by status and visibility, most first. Reads the whole table."""
        return [ImageCount(row[0], row[1], bool(row[2]), row[3]) for row in self._execute(_COUNTS)]

    def tokens(self) -> dict[Token, bytes]:
        """Return all tokens, each with the SHA-256 of its secret, the oldest first."""
        return dict(map(to_token_with_hash, self._execute(_TOKENS)))
