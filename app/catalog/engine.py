"""The interface of a database engine that stores a catalog. Callers do not depend on a specific engine."""

import asyncio
import math
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from enum import Enum
from pathlib import Path
from typing import Protocol

from app.catalog.inspection import CatalogUser, DatabaseInfo, Finding
from app.catalog.listing import Cursor, IndexScan, Probe
from app.catalog.models import (
    FoundPage,
    Image,
    ImageCount,
    Record,
    ReplicatedImage,
    StoredImage,
    SyncMark,
    SyncStatus,
    Token,
    Upstream,
    Version,
)

# Seconds to wait for other writers. Commands wait longer than requests, whose clients may time out.
WRITER_TIMEOUT, COMMAND_TIMEOUT = 10.0, 60.0


class SchemaState(Enum):
    """What a database contains, from the point of view of this version of the service."""

    EMPTY = "no catalog yet"
    OUTDATED = "a catalog of an earlier version; serve, import, mirror, token add and migrate upgrade it"
    CURRENT = "a catalog of this version"


class Snapshot(Protocol):
    """Reads of one state of the catalog, unaffected by concurrent writes. Project ids are normalized."""

    def status_types(self, status: str | None, type_: str, *, deleted: bool) -> list[int]:
        """Return the ids of the pairs of status and type that match. None matches every status, ALL every type."""

    def cursor(self, project_id: str, marker: str) -> Cursor | None:
        """Return the position of an image in the order of the list; None if the project cannot see the image."""

    def max_matches(self, page_size: int) -> int:
        """Return the most matches of a filter that are worth counting, and sorting if necessary."""

    def count(self, probes: Sequence[Probe]) -> Sequence[int]:
        """Return the number of index entries that each probe finds, up to its limit."""

    def find_page(self, scans: Sequence[IndexScan], count: int) -> FoundPage:
        """Return the first images that the scans find, merged in the order of the list."""

    def read_images(self, sequences: Sequence[int], version: Version | None) -> Iterator[dict[int, Image]]:
        """Yield batches of images by sequence number, without those of another version, and with unchecked values."""

    def find_image(self, project_id: str, image_id: str) -> StoredImage | None:
        """Return an image that the project can see, which includes unlisted community images; None otherwise."""

    def contains(self, image_id: str) -> bool:
        """Return whether the catalog has an image or a tombstone with this id, visible to the caller or not."""

    def ping(self) -> None:
        """Raise SchemaMismatch unless the schema is current, CatalogUnavailable unless images can be read."""

    def images_of(self, owner: str | None) -> list[StoredImage]:
        """Return the images that a project owns, or that nobody owns, without tombstones."""

    def all_images(self, *, owner: str | None, deleted: bool) -> Iterator[StoredImage]:
        """Yield all images, or those of one owner, in the order in which they were added; tombstones optional."""

    def records(self) -> Iterator[Record]:
        """Yield all images and tombstones, with all stored values, in the order in which they were added."""

    def image_ids(self) -> set[str]:
        """Return the ids of all images, without tombstones."""

    def replicated_images(self, ids: Collection[str] | None) -> dict[str, ReplicatedImage]:
        """Return the images and tombstones with these ids (None: all of them), by id."""

    def upstream(self) -> Upstream | None:
        """Return the image service that the catalog replicates; None if it is not a replica."""

    def find_token(self, token_id: str) -> tuple[Token, bytes] | None:
        """Return a token and the SHA-256 of its secret."""

    def count_images(self) -> list[ImageCount]:
        """Count the images and tombstones by status and visibility, most first. Reads the whole catalog."""

    def tokens(self) -> dict[Token, bytes]:
        """Return all tokens, each with the SHA-256 of its secret, the oldest first."""


class Transaction(Snapshot, Protocol):
    """Reads and writes that are committed together, or not at all."""

    state_before: SchemaState  # what the database contained when this transaction began; now it is CURRENT

    def upsert_images(
        self, images: Iterable[StoredImage], *, deleted_at: str | None = None, mark: SyncMark | None = None
    ) -> tuple[int, int]:
        """Write images and their index entries. Return how many are new, and how many changed.

        An existing image keeps its position in the order. `deleted_at` is for tombstones that the service creates,
        `mark` for images of a replica.
        """

    def insert_records(self, records: Iterable[Record]) -> None:
        """Add images and tombstones, in this order and unchanged, to a catalog that has none."""

    def purge_tombstones(self, before: str) -> None:
        """Remove the tombstones that the service created at or before a time (UTC). Imported tombstones remain."""

    def delete_images(self) -> None:
        """Remove all images and tombstones."""

    def set_upstream(self, upstream: Upstream | None) -> None:
        """Set the image service that the catalog replicates, and its state; None: the catalog is not a replica."""

    def add_token(self, token: Token, secret_hash: bytes) -> None:
        """Store a token."""

    def delete_token(self, token_id: str) -> None:
        """Remove a token, if it exists."""


class Engine(Protocol):
    """A catalog in a database. Each method raises CatalogUnavailable when the database cannot be used."""

    blocks: bool  # whether reads wait for a network, and therefore always run in threads
    max_readers: int  # how many reads of one process can run in threads at the same time
    max_writers: int  # how many writes of one process can run at the same time
    backup_program: str | None  # the database's own backup program, for the message of the command `backup`

    @property
    def name(self) -> str:
        """The name of the catalog in messages. It contains no password."""

    def connect(self) -> None:
        """Open the catalog for requests. Raises CatalogUnavailable if there is none."""

    def version(self) -> Version | asyncio.Future[Version]:
        """Return the version of a state that includes every change committed before the current request arrived.

        An engine that has to wait for it returns a future. Callers share this future, so none of them may cancel it:
        await it only through `current_version`. Raises CatalogUnavailable, directly or as the exception of the future.
        """

    def snapshot(self, *, is_single: bool = False) -> AbstractContextManager[Snapshot]:
        """Read one state of the catalog, for a request. Connections are reused.

        `is_single` states that the block reads only once, for which an engine needs no transaction. Raises CatalogBusy
        if another process locks the catalog (on the event loop, without waiting for the lock), ReadLimitExceeded if the
        read exceeds its `read_limits`, and CatalogDamaged.
        """

    def read_limits(
        self, seconds: float, *, cpu_seconds: float = math.inf, images: float = math.inf
    ) -> AbstractContextManager[None]:
        """Limit the reads that this thread makes in the block: their elapsed time, CPU time, and images per page.

        A read that exceeds a limit raises ReadLimitExceeded. The CPU time of a database server is not limited.
        """

    def open_snapshot(self) -> AbstractContextManager[Snapshot]:
        """Read one state of the catalog, for a command. Raises CatalogUnavailable unless the schema is current."""

    def transaction(self, *, timeout: float) -> AbstractContextManager[Transaction]:
        """Write to the catalog; create or upgrade it if necessary. An exception rolls everything back.

        Raises CatalogBusy if other writers take longer than the timeout (seconds), CatalogReadOnly, and CommitUnknown
        if the connection to a database server breaks during the commit.
        """

    def schema_state(self) -> SchemaState:
        """Return what the database contains, without changing it.

        Raises CatalogUnavailable for a database of another application, and CatalogOfLaterVersion.
        """

    def check(self) -> Iterator[Finding]:
        """Yield what is wrong with the database: its schema, its structure, the image index, and who can access it.

        Raises what `schema_state` raises, and CatalogDamaged if the database is too damaged to be examined.
        """

    def info(self) -> DatabaseInfo:
        """Return the size and the migrations of the database, without reading its images.

        Raises CatalogMissing, and what `schema_state` raises.
        """

    def users(self) -> list[CatalogUser] | None:
        """Return the other processes that use the catalog now; None if the system does not provide this list."""

    def backup(self, file: Path) -> None:
        """Write one state of the catalog to a file, with its tokens and the status of the mirror's syncs.

        The file appears, or replaces an earlier one, only after it is complete and was checked. Writers are not
        delayed. Raises CatalogUnavailable.
        """

    def restore(self, file: Path, *, timeout: float) -> None:
        """Replace the contents of the catalog by a backup, in one transaction: running services see a single change.

        The backup is checked first, and migrated if an earlier version created it. Raises CatalogBusy if other writers
        take longer than the timeout (seconds), CatalogReadOnly, CatalogDamaged and CatalogUnavailable.
        """

    def read_sync_status(self) -> SyncStatus:
        """Return the status of the mirror's syncs. Reading or writing it does not change the version."""

    def write_sync_status(self, status: SyncStatus) -> None:
        """Store the status of the mirror's syncs. If there is no catalog, the status may be lost."""

    def mirror_lock(self) -> AbstractContextManager[None]:
        """Hold the lock of the catalog's mirror, which only one process on all machines can hold, during the block.

        If the lock can be lost, because it belongs to a session on a database server, this engine reads and writes in
        that session during the block, so that it writes nothing after the loss: `transaction`, `restore`,
        `read_sync_status` and `write_sync_status` then raise MirrorLockLost. Raises MirrorAlreadyRunning.
        """

    def close(self) -> None:
        """Close the connections of this process to a database server, when the application ends."""


class FileEngine(Engine, Protocol):
    """A catalog in a file of its own, such as the copy that a test double serves."""

    def copy_to_memory(self) -> Callable[[float], None]:
        """Copy the contents of the catalog. Return a function that restores them, as `restore` does with its timeout.

        Raises CatalogUnavailable if there is no catalog.
        """


async def current_version(engine: Engine) -> Version:
    """Return the version of the catalog, as `Engine.version` describes it. Raises CatalogUnavailable."""
    version = engine.version()
    if isinstance(version, asyncio.Future):
        return await asyncio.shield(version)  # cancelling one request must not cancel the future of the others
    return version
