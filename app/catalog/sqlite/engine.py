"""A catalog in a SQLite file."""

import asyncio
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from functools import partial
from pathlib import Path

from sqlite_utils.utils import sqlite3  # type: ignore[attr-defined]

from app.catalog.engine import SchemaState
from app.catalog.errors import CatalogReadOnly, CatalogUnavailable
from app.catalog.inspection import CatalogUser, DatabaseInfo, Finding
from app.catalog.models import SyncStatus
from app.catalog.sqlite import database, sync_status
from app.catalog.sqlite.backup import BACKUP_STEP, copy_to_memory, restore_backup, write_backup
from app.catalog.sqlite.check import find_problems
from app.catalog.sqlite.info import find_users, read_info
from app.catalog.sqlite.reader import ReadLimits, SQLiteSnapshot
from app.catalog.sqlite.version import LOOP_LOCK_TIMEOUT, VersionReader
from app.catalog.sqlite.writer import BATCH_SIZE, SQLiteTransaction

_MAX_WAL_BYTES = 64_000_000  # of the write-ahead log that remains after a transaction, unless a reader still needs it
_PROGRESS_INTERVAL = 10_000  # steps of SQLite between looks at the clock: about half a millisecond
# The page cache of reads on the event loop, in KiB. One of 16 MB would save at most 5 % of their CPU time.
_LOOP_CACHE_KIB = 2_000


class _ThreadState(threading.local):
    """The connection and the limits of a thread that reads for requests."""

    connection: sqlite3.Connection | None = None

    def __init__(self) -> None:
        self.limits = ReadLimits()


class SQLiteEngine:
    """A catalog in a SQLite file in WAL mode. Implements `app.catalog.engine.Engine`.

    Each thread that reads for requests has a connection of its own, which stays open. All read the version on another.
    """

    blocks = False
    max_readers = 2  # each holds a connection and its cache, and competes with the event loop
    max_writers = 1
    backup_program: str | None = None  # `backup` writes what SQLite's own programs write

    def __init__(  # noqa: PLR0913 each is an option
        self,
        path: Path,
        *,
        immutable: bool = False,
        batch_size: int = BATCH_SIZE,
        max_wal_bytes: int = _MAX_WAL_BYTES,
        progress_interval: int = _PROGRESS_INTERVAL,
        lock_timeout: float = database.LOCK_TIMEOUT,
        backup_step: int = BACKUP_STEP,
    ) -> None:
        """Set whether nothing writes to the file, how many images are written at a time, and the constants above."""
        self._path = path
        self._immutable = immutable
        self._max_wal_bytes = max_wal_bytes
        self._progress_interval = progress_interval
        self._lock_timeout = lock_timeout
        self._backup_step = backup_step
        self._batch_size = batch_size
        self._file_id: tuple[int, int] | None = None  # of the file that the open connections read
        self._thread = _ThreadState()
        self._versions = VersionReader(path, immutable=immutable)
        self._version: int | None = None  # read in the current iteration of the event loop

    @property
    def name(self) -> str:
        """The path of the file."""
        return str(self._path)

    def connect(self) -> None:
        """Record which file is at the path, so that its replacement by another file is noticed."""
        self._file_id = _file_id(self._path)

    def version(self) -> int:
        """Return SQLite's data version.

        It is read once for each iteration of the event loop: the requests of all calls had arrived before the
        iteration began, so none of their clients can know of a later change.
        """
        if self._version is None:
            asyncio.get_running_loop().call_soon(self._expire_version)
            try:  # without translate_errors: every cached response waits for this
                self._require_same_file()
                self._version = self._versions.read()
            except (sqlite3.Error, UnicodeDecodeError) as error:
                raise CatalogUnavailable(f"{self._path}: {error}") from error
        return self._version

    def _expire_version(self) -> None:
        self._version = None

    @contextmanager
    def snapshot(self, *, is_single: bool = False) -> Iterator[SQLiteSnapshot]:  # noqa: ARG002 it would gain nothing
        """Read one state of the catalog on the thread's connection. Raises what `Engine.snapshot` raises."""
        with database.translate_errors(self._path):
            connection = self._connection()
            try:
                before = self._version  # of this iteration of the event loop, which may end at any time
                before = self._read_version() if before is None else before
                connection.execute("BEGIN")
                yield SQLiteSnapshot(connection, self._thread.limits, partial(self._unchanged_version, before))
            finally:
                connection.rollback()

    def _unchanged_version(self, before: int | None) -> int | None:
        """Return the version before a read if it has not changed since: then, it is the version that was read."""
        return before if before == self._read_version() else None

    def _read_version(self) -> int | None:
        """Return SQLite's data version; None if it cannot be read. The read that follows reports the error."""
        try:
            return self._versions.read()
        except (sqlite3.Error, CatalogUnavailable):
            return None

    @contextmanager
    def read_limits(self, seconds: float, *, cpu_seconds: float = math.inf, images: float = math.inf) -> Iterator[None]:
        """Limit the reads of the thread: their time by SQLite's progress handler, and the images of a page."""
        limits = self._thread.limits
        limits.deadline, limits.cpu_deadline = time.monotonic() + seconds, time.thread_time() + cpu_seconds
        limits.max_images = images
        try:
            yield
        finally:
            limits.deadline = limits.cpu_deadline = limits.max_images = math.inf

    @contextmanager
    def open_snapshot(self) -> Iterator[SQLiteSnapshot]:
        """Read one state of the catalog on a connection that is closed at the end."""
        state = database.require_catalog(self._path, immutable=self._immutable)
        if state is not SchemaState.CURRENT:
            raise CatalogUnavailable(f"{self._path} holds {state.value}")
        with (
            database.translate_errors(self._path),
            closing(database.open_reader(self._path, immutable=self._immutable)) as db,
        ):
            db.conn.execute("BEGIN")
            yield SQLiteSnapshot(db.conn)

    @contextmanager
    def transaction(self, *, timeout: float) -> Iterator[SQLiteTransaction]:
        """Write to the file; create or upgrade it if necessary."""
        self._require_mutable()
        with database.write_transaction(self._path, timeout=timeout, max_wal_bytes=self._max_wal_bytes) as (db, state):
            yield SQLiteTransaction(db, self._batch_size, state_before=state)

    def schema_state(self) -> SchemaState:
        """Return what the file contains, without changing it. Raises what `Engine.schema_state` raises."""
        return database.schema_state(self._path, immutable=self._immutable)

    def check(self) -> Iterator[Finding]:
        """Yield what is wrong with the file. Raises what `Engine.check` raises."""
        return find_problems(self._path, immutable=self._immutable)

    def info(self) -> DatabaseInfo:
        """Return the size of the file, and who migrated it last. Raises what `Engine.info` raises."""
        return read_info(self._path, immutable=self._immutable)

    def users(self) -> list[CatalogUser] | None:
        """Return the processes that use the catalog now, from its locks. Nothing locks an immutable file."""
        return None if self._immutable else find_users(self._path)

    def backup(self, file: Path) -> None:
        """Copy one state of the catalog to a file, which has the mode 600. Raises what `Engine.backup` raises."""
        write_backup(self._path, file, immutable=self._immutable, step=self._backup_step)

    def restore(self, file: Path, *, timeout: float) -> None:
        """Replace what the catalog contains by a backup. Raises what `Engine.restore` raises."""
        self._require_mutable()
        restore_backup(self._path, file, timeout=timeout, max_wal_bytes=self._max_wal_bytes)

    def copy_to_memory(self) -> Callable[[float], None]:
        """Copy what the catalog contains, and return a function that restores it, given the timeout."""
        write_back = copy_to_memory(self._path, immutable=self._immutable, max_wal_bytes=self._max_wal_bytes)

        def restore(timeout: float) -> None:
            self._require_mutable()
            write_back(timeout)

        return restore

    def read_sync_status(self) -> SyncStatus:
        """Return the status of the mirror's syncs, from the file beside the catalog."""
        return sync_status.read_sync_status(self._path)

    def write_sync_status(self, status: SyncStatus) -> None:
        """Store the status of the mirror's syncs in the file beside the catalog."""
        sync_status.write_sync_status(self._path, status)

    def mirror_lock(self) -> AbstractContextManager[None]:
        """Hold the lock that only one mirror of the catalog can have."""
        return sync_status.mirror_lock(self._path)

    def close(self) -> None:
        """Do nothing: the connections are closed with their threads, and with this object."""

    def _require_mutable(self) -> None:
        if self._immutable:
            raise CatalogReadOnly(f"{self._path} is immutable, as its location says")

    def _require_same_file(self) -> None:
        if self._file_id is None:
            self.connect()
        elif _file_id(self._path) != self._file_id:
            # SQLite would replay the old file's write-ahead log into the new one.
            raise CatalogUnavailable(f"{self._path} was replaced by another file: restart the service")

    def _connection(self) -> sqlite3.Connection:
        connection = self._thread.connection
        if connection is None or self._version is None:  # otherwise, this iteration of the event loop checked the file
            self._require_same_file()
        if connection is None:
            timeout = LOOP_LOCK_TIMEOUT if _runs_event_loop() else self._lock_timeout
            reader = database.open_reader(self._path, immutable=self._immutable, lock_timeout=timeout)
            connection = self._thread.connection = reader.conn
            if _runs_event_loop():
                connection.execute(f"PRAGMA cache_size = -{_LOOP_CACHE_KIB}")
            connection.set_progress_handler(self._thread.limits.are_exceeded, self._progress_interval)
        return connection


def _runs_event_loop() -> bool:
    """Return whether the event loop runs on this thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _file_id(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError as error:
        raise CatalogUnavailable(f"{path}: {error}") from error
    database.require_regular_file(status.st_mode, path)
    return status.st_dev, status.st_ino
