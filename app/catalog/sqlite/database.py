"""The database file of a catalog: opening it, and finding out what it contains."""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sqlite_utils import Database
from sqlite_utils.utils import sqlite3  # type: ignore[attr-defined]

from app.catalog.engine import SchemaState
from app.catalog.sqlite.migrations import MIGRATIONS, migration_names
from app.errors import CatalogBusy, CatalogReadOnly, CatalogUnavailable

_MIN_SQLITE_VERSION = (3, 38, 0)  # the first with the operator ->>
# Page caches in KiB: for a reader, the pages of some thousand images; for a writer, those that a long import revisits.
_READER_CACHE_KIB, _WRITER_CACHE_KIB = 16_000, 64_000
_READER_TIMEOUT = 5.0  # seconds to wait for a process that has locked the file


def schema_state(path: Path) -> SchemaState:
    """Return what the file contains, without changing it.

    Raises CatalogUnavailable for a database of another application, and for a catalog of a later version.
    """
    with translate_errors(path):
        if not path.exists():
            return SchemaState.EMPTY
        with closing(open_reader(path)) as db, db.atomic():  # one snapshot, as others may be writing
            applied = {migration.name for migration in MIGRATIONS.applied(db)}
            pending = {migration.name for migration in MIGRATIONS.pending(db)}
            if not applied and db.table_names():
                raise CatalogUnavailable(f"{path} is a database of another application")
    if applied - migration_names():
        raise CatalogUnavailable(f"{path} was made by a later version of compute-images")
    return SchemaState.EMPTY if not applied else SchemaState.OUTDATED if pending else SchemaState.CURRENT


def open_reader(path: Path) -> Database:
    """Open the file read-only, without creating it. Raises CatalogUnavailable."""
    if sqlite3.sqlite_version_info < _MIN_SQLITE_VERSION:
        oldest = ".".join(map(str, _MIN_SQLITE_VERSION))
        raise CatalogUnavailable(f"SQLite {sqlite3.sqlite_version} is too old: version {oldest} or later is required")
    with translate_errors(path):
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=_READER_TIMEOUT)
        connection.execute("PRAGMA query_only = 1")
        connection.execute(f"PRAGMA cache_size = -{_READER_CACHE_KIB}")
        return Database(connection, execute_plugins=False)


@contextmanager
def write_transaction(path: Path, *, timeout: float) -> Iterator[Database]:
    """Open the file for one transaction; create or upgrade it if necessary. Readers are not blocked.

    Raises CatalogBusy if other writers take longer than the timeout (seconds), CatalogReadOnly, and CatalogUnavailable.
    """
    schema_state(path)
    with translate_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(Database(sqlite3.connect(path.absolute(), timeout=timeout), execute_plugins=False)) as db:
            db.execute(f"PRAGMA cache_size = -{_WRITER_CACHE_KIB}")
            with _exclusive_lock(path.parent):
                db.enable_wal()
            # A deferred BEGIN could fail at its first write, if another writer was faster.
            db.conn.execute("BEGIN IMMEDIATE")
            try:
                MIGRATIONS.apply(db)
                yield db
            except BaseException:
                db.rollback()
                raise
            db.commit()


@contextmanager
def translate_errors(path: Path) -> Iterator[None]:
    """Translate errors of SQLite and of the file system to CatalogBusy, CatalogReadOnly or CatalogUnavailable."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        match getattr(error, "sqlite_errorname", errno.errorcode.get(getattr(error, "errno", None) or 0)):
            case "SQLITE_BUSY":
                raise CatalogBusy from error
            case "SQLITE_READONLY" | "SQLITE_READONLY_DIRECTORY" | "EACCES" | "EROFS":
                raise CatalogReadOnly(f"{path}: {error}") from error
        raise CatalogUnavailable(f"{path}: {error}") from error


@contextmanager
def _exclusive_lock(folder: Path) -> Iterator[None]:
    """Run the block in one process at a time: if two switch a file to WAL mode at once, one of them fails."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
