"""A catalog in a PostgreSQL database."""

import math
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

from app.catalog.copying import OpenFile, copy_catalog, open_backup, write_backup
from app.catalog.engine import COMMAND_TIMEOUT, SchemaState
from app.catalog.errors import CatalogMissing, CatalogUnavailable
from app.catalog.inspection import CatalogUser, DatabaseInfo, Finding
from app.catalog.models import SyncStatus
from app.catalog.postgresql import sync_status
from app.catalog.postgresql.check import find_problems
from app.catalog.postgresql.database import Connection
from app.catalog.postgresql.info import find_users, read_info
from app.catalog.postgresql.reader import PostgreSQLSnapshot
from app.catalog.postgresql.sessions import Sessions
from app.catalog.postgresql.version import TIMEOUT, VersionFuture, VersionReader
from app.catalog.postgresql.writer import PostgreSQLTransaction, lock_catalog

_MAX_READERS = 8


class PostgreSQLEngine:
    """A catalog in a PostgreSQL database. Implements `app.catalog.engine.Engine`."""

    blocks = True
    max_writers = 1  # all writers of a catalog wait for each other, even on different machines
    backup_program: str | None = "pg_dump"

    def __init__(self, url: str, open_file: OpenFile, *, max_readers: int = _MAX_READERS) -> None:
        """Set the URL, the function that opens a backup, and the size of the pool. Raises InvalidUrl."""
        self.max_readers = max_readers
        self._open_file = open_file
        self._sessions = Sessions(url, max_readers=max_readers)
        connect = partial(self._sessions.connect_for_version, TIMEOUT)
        self._version = VersionReader(self.name, connect, self._sessions.pool)

    @property
    def name(self) -> str:
        """The URL of the database, without the user, the password and the parameters."""
        return self._sessions.name

    def connect(self) -> None:
        """Use the pool from now on. Its connections are opened when requests need them.

        So a service can start while the database is unavailable, and recovers without a restart.
        """
        self._sessions.serves_requests = True

    def version(self) -> VersionFuture:
        """Return the future of the version, which is read from the primary after the call."""
        return self._version.read()

    @contextmanager
    def snapshot(self, *, is_single: bool = False) -> Iterator[PostgreSQLSnapshot]:
        """Read one state of the catalog. Raises what `Engine.snapshot` raises, and CatalogConnectionLost."""
        with self._sessions.read(is_single=is_single) as connection:
            max_reads = 1 if is_single else math.inf
            yield PostgreSQLSnapshot(connection, self._sessions.thread.max_images, max_reads=max_reads)

    @contextmanager
    def read_limits(
        self,
        seconds: float,
        *,
        cpu_seconds: float = math.inf,  # noqa: ARG002 the reads use the CPU of the server
        images: float = math.inf,
    ) -> Iterator[None]:
        """Limit the reads of the thread in the block: their elapsed time in seconds, and the images of a page."""
        thread = self._sessions.thread
        thread.deadline, thread.max_images = time.monotonic() + seconds, images
        try:
            yield
        finally:
            thread.deadline = thread.max_images = math.inf

    @contextmanager
    def open_snapshot(self) -> Iterator[PostgreSQLSnapshot]:
        """Read one state of the catalog on a connection that is closed at the end."""
        with self._open_catalog() as (connection, state):
            if state is not SchemaState.CURRENT:
                raise CatalogUnavailable(f"{self.name} holds {state.value}")
            yield PostgreSQLSnapshot(connection)

    @contextmanager
    def transaction(self, *, timeout: float) -> Iterator[PostgreSQLTransaction]:
        """Write to the catalog; create or upgrade it if necessary. Raises what `Engine.transaction` raises."""
        with self._sessions.write(timeout) as (connection, state):
            lock_catalog(connection)
            yield PostgreSQLTransaction(connection, state_before=state)

    def schema_state(self) -> SchemaState:
        """Return what the database contains, without changing it. Raises what `Engine.schema_state` raises."""
        with self._sessions.open_snapshot() as (_, state):
            return state

    def check(self) -> Iterator[Finding]:
        """Yield the problems of the tables. Raises what `Engine.check` raises."""
        with self._open_catalog() as (connection, state):
            yield from find_problems(connection, self.name, state)

    def info(self) -> DatabaseInfo:
        """Return the size of the tables, and the version that last migrated them. Raises what `Engine.info` raises."""
        with self._open_catalog() as (connection, _):
            return read_info(connection)

    def users(self) -> list[CatalogUser] | None:
        """Return the other sessions of all machines, each with the id of its process on the server."""
        with self._sessions.open_snapshot() as (connection, _):
            return find_users(connection)

    def backup(self, file: Path) -> None:
        """Copy one state of the catalog to a SQLite backup. Raises what `Engine.backup` raises."""
        write_backup(self, file, self._open_file)

    def restore(self, file: Path, *, timeout: float) -> None:
        """Replace the contents of the catalog by a backup. Raises what `Engine.restore` raises, and CommitUnknown."""
        with (
            open_backup(file, self._open_file) as (source, status),
            self._sessions.write(timeout) as (connection, state),
        ):
            lock_catalog(connection)
            copy_catalog(source, PostgreSQLTransaction(connection, state_before=state))
            sync_status.write_sync_status(connection, status)

    def read_sync_status(self) -> SyncStatus:
        """Return the status of the mirror's syncs."""
        with self._sessions.any_session() as connection:
            return sync_status.read_sync_status(connection)

    def write_sync_status(self, status: SyncStatus) -> None:
        """Store the status of the mirror's syncs. Without a catalog, it is not stored."""
        with self._sessions.write_existing(COMMAND_TIMEOUT) as (connection, state):
            if state is SchemaState.CURRENT:
                sync_status.write_sync_status(connection, status)

    def mirror_lock(self) -> AbstractContextManager[None]:
        """Hold the lock of the catalog's mirror. The lock is lost if its session ends earlier than the block."""
        return self._sessions.mirror_lock()

    def close(self) -> None:
        """Close the connections of this process. Those in use are closed at the end of their transactions."""
        self._version.close()
        self._sessions.pool.start_generation(-1)

    @contextmanager
    def _open_catalog(self) -> Iterator[tuple[Connection, SchemaState]]:
        with self._sessions.open_snapshot() as (connection, state):
            if state is SchemaState.EMPTY:
                raise CatalogMissing(self.name)
            yield connection, state
