"""Reads of one state of the catalog."""

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import fields
from itertools import starmap
from typing import Any

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
)
from app.catalog.postgresql.database import Connection
from app.catalog.postgresql.migrations import MIGRATIONS, applied_migrations
from app.catalog.postgresql.scans import count_query, page_query
from app.catalog.postgresql.schema import INDEX_COLUMNS, TOMBSTONE, VISIBLE
from app.catalog.postgresql.statements import Row, query

COLUMNS = ", ".join(field.name for field in fields(StoredImage))

_STATUS_TYPES = """
SELECT id FROM status_types
WHERE (status = 'DELETED') = $1
  AND ($2::text IS NULL OR status = $2)
  AND CASE $3 WHEN 'ALL' THEN true WHEN 'SERVER' THEN type <> 'BASE' ELSE type = $3 END
"""
_CURSOR = f"""
SELECT extract(epoch FROM created::timestamptz)::bigint, -sequence FROM images WHERE id = $1 AND {VISIBLE}
"""  # noqa: S608 no user input
_PING_IMAGES = 200  # images that each health check reads: all of a small catalog
# Names all columns of the index, so that it fails if one is missing, even in an empty catalog.
_PING = f"SELECT {INDEX_COLUMNS} FROM image_index LIMIT 1"  # noqa: S608 no user input
_SOME_IMAGES = f"SELECT {COLUMNS} FROM images LIMIT {_PING_IMAGES}"  # noqa: S608 no user input
_IMAGE = f"SELECT {COLUMNS} FROM images WHERE id = $1 AND NOT {TOMBSTONE} AND {VISIBLE}"  # noqa: S608 no user input
_IMAGES = f"""
SELECT sequence, {", ".join(field.name for field in fields(Image))}
FROM images WHERE sequence = ANY($1) AND (SELECT version FROM catalog) = $2
"""  # noqa: S608 no user input
_OWNED = f"SELECT {COLUMNS} FROM images WHERE owner IS NOT DISTINCT FROM $1 AND status <> 'DELETED'"  # noqa: S608 no user input
_EXPORT = f"""
SELECT {COLUMNS} FROM images
WHERE (%(owner)s::text IS NULL OR owner = %(owner)s) AND (%(deleted)s OR status <> 'DELETED')
ORDER BY sequence
"""  # noqa: S608 no user input
_RECORDS = f"SELECT {COLUMNS}, deleted_at, {', '.join(SyncMark._fields)} FROM images ORDER BY sequence"  # noqa: S608 no user input
_REPLICATED = f"SELECT {COLUMNS}, coalesce(revision, 0), {TOMBSTONE} FROM images"  # noqa: S608 no user input
_SOME_REPLICATED = f"{_REPLICATED} WHERE id = ANY($1)"
_IMAGE_IDS = f"SELECT id FROM images WHERE NOT {TOMBSTONE}"  # noqa: S608 no user input
_UPSTREAM = f"SELECT {', '.join(Upstream._fields)} FROM upstream"  # noqa: S608 no user input
_COUNTS = f"""
SELECT status, visibility, {TOMBSTONE} AS is_tombstone, count(*) AS count FROM images
GROUP BY status, visibility, is_tombstone ORDER BY count DESC, status, visibility
"""  # noqa: S608 no user input
_TOKENS = f"SELECT {', '.join(Token._fields)}, hash FROM tokens ORDER BY created, id"  # noqa: S608 no user input
_TOKEN = f"SELECT {', '.join(Token._fields)}, hash FROM tokens WHERE id = $1"  # noqa: S608 no user input
_MIN_MATCHES, _MAX_MATCHES = 1_000, 20_000  # of a filter that are counted, for small and for large pages


class PostgreSQLSnapshot:
    """Reads within the transaction of a connection. Implements `app.catalog.engine.Snapshot`."""

    def __init__(self, connection: Connection, max_images: float = math.inf, *, max_reads: float = math.inf) -> None:
        """Set the maximum number of images of a page, and of queries; a larger page raises ReadLimitExceeded."""
        self._connection = connection
        self._max_images = max_images
        self._max_reads = max_reads

    def status_types(self, status: str | None, type_: str, *, deleted: bool) -> list[int]:
        """Return the ids of the pairs of status and type that match. None matches every status, ALL every type."""
        return [number for (number,) in self._query(_STATUS_TYPES, deleted, status, type_)]

    def cursor(self, project_id: str, marker: str) -> Cursor | None:
        """Return the position of an image in the order of the list; None if the project cannot see the image."""
        row = self._find(_CURSOR, marker, project_id)
        return Cursor._make(row) if row else None

    def max_matches(self, page_size: int) -> int:
        """Return the most matches of a filter that are worth counting, and sorting if necessary."""
        return min(max(_MIN_MATCHES, 10 * page_size), _MAX_MATCHES)

    def count(self, probes: Sequence[Probe]) -> Sequence[int]:
        """Return the number of index entries that each probe finds, up to its limit."""
        statement, values = count_query(probes)
        return self._query(statement, *values)[0]

    def find_page(self, scans: Sequence[IndexScan], count: int) -> FoundPage:
        """Return the first images that the scans find, merged in the order of the list."""
        if not scans:
            return FoundPage(None, [])
        statement, values = page_query(scans, count)
        ((version, sequences),) = self._query(statement, *values)
        if len(sequences) > self._max_images:
            raise ReadLimitExceeded
        return FoundPage(version, sequences)

    def read_images(self, sequences: Sequence[int], version: Version | None) -> Iterator[dict[int, Image]]:
        """Yield batches of images by sequence number, without those of another version, and with unchecked values."""
        rows = self._query(_IMAGES, list(sequences), version) if sequences else []
        yield {sequence: Image(*fields) for sequence, *fields in rows}

    def find_image(self, project_id: str, image_id: str) -> StoredImage | None:
        """Return an image that the project can see, which includes unlisted community images; None otherwise."""
        row = self._find(_IMAGE, image_id, project_id)
        return StoredImage(*row) if row else None

    def contains(self, image_id: str) -> bool:
        """Return whether the catalog has an image or a tombstone with this id, visible to the caller or not."""
        return self._find("SELECT 1 FROM images WHERE id = $1", image_id) is not None

    def ping(self) -> None:
        """Raise SchemaMismatch unless the schema is current, and psycopg.Error unless images can be read."""
        if applied_migrations(self._connection) != MIGRATIONS.keys():
            raise SchemaMismatch
        for statement in (_PING, _SOME_IMAGES):
            self._query(statement)
        partitions = [Partition(audience, deleted=False) for audience in (EVERYONE, "")]
        page = self.find_page([IndexScan(partition, None, (), None) for partition in partitions], _PING_IMAGES)
        list(self.read_images(page.sequences, page.version))
        self.upstream()
        self.status_types(None, "ALL", deleted=False)

    def images_of(self, owner: str | None) -> list[StoredImage]:
        """Return the images that a project owns, or that nobody owns, without tombstones."""
        return list(starmap(StoredImage, self._query(_OWNED, owner)))

    def all_images(self, *, owner: str | None, deleted: bool) -> Iterator[StoredImage]:
        """Yield all images, or those of one owner, in the order in which they were added; tombstones optional."""
        yield from starmap(StoredImage, self._stream(_EXPORT, {"owner": owner, "deleted": deleted}))

    def records(self) -> Iterator[Record]:
        """Yield all images and tombstones, with all stored values, in the order in which they were added."""
        for *image, deleted_at, synced_at, revision in self._stream(_RECORDS):
            yield Record(StoredImage(*image), deleted_at, SyncMark(synced_at, revision))

    def image_ids(self) -> set[str]:
        """Return the ids of all images, without tombstones."""
        return {image_id for (image_id,) in self._query(_IMAGE_IDS)}

    def replicated_images(self, ids: Collection[str] | None) -> dict[str, ReplicatedImage]:
        """Return the images and tombstones with these ids (None: all of them), by id."""
        rows = self._query(_REPLICATED) if ids is None else self._query(_SOME_REPLICATED, list(ids))
        return {row[0]: ReplicatedImage(StoredImage(*row[:-2]), row[-2], row[-1]) for row in rows}

    def upstream(self) -> Upstream | None:
        """Return the image service that the catalog replicates; None if it is not a replica."""
        return next(starmap(Upstream, self._query(_UPSTREAM)), None)

    def find_token(self, token_id: str) -> tuple[Token, bytes] | None:
        """Return a token and the SHA-256 of its secret."""
        row = self._find(_TOKEN, token_id)
        return _to_token_with_hash(row) if row else None

    def count_images(self) -> list[ImageCount]:
        """Count the images and tombstones by status and visibility, most first. Reads the whole table."""
        return list(starmap(ImageCount, self._query(_COUNTS)))

    def tokens(self) -> dict[Token, bytes]:
        """Return all tokens, each with the SHA-256 of its secret, the oldest first."""
        return dict(map(_to_token_with_hash, self._query(_TOKENS)))

    def _query(self, statement: str, *values: Any) -> list[Row]:
        if not self._max_reads:
            raise RuntimeError("Another query could read another state: the snapshot was opened for a single one.")
        self._max_reads -= 1
        return query(self._connection, statement, values)

    def _stream(self, statement: str, values: dict[str, Any] | None = None) -> Iterator[Row]:
        """Yield rows from a server-side cursor, because they may not fit into memory."""
        with self._connection.cursor("rows") as cursor:
            cursor.itersize = 200
            yield from cursor.execute(statement.encode(), values)

    def _find(self, statement: str, *values: str) -> Row | None:
        """Return the first row, or None. PostgreSQL cannot store U+0000, so a value that contains it matches no row."""
        if any("\0" in value for value in values):
            return None
        return next(iter(self._query(statement, *values)), None)


def _to_token_with_hash(row: Row) -> tuple[Token, bytes]:
    return Token._make(row[:-1]), row[-1]
