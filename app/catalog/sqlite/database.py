"""The file of the catalog, and how it is opened: to read, or to write."""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from enum import Enum
from pathlib import Path

from sqlite_utils import Database
from sqlite_utils.utils import sqlite3  # type: ignore[attr-defined]

from app.catalog.sqlite.schema import MIGRATIONS
from app.errors import CatalogBusy, CatalogReadOnly, CatalogUnavailable

_MIN_SQLITE_VERSION = (3, 38, 0)  # ->> is from there
# KiB of the file: for a reader some pages of a thousand images, for a writer what a long import goes back to.
_READER_CACHE_KIB, _WRITER_CACHE_KIB = 16_000, 64_000
# Seconds, for another process that holds the file: a command is more patient than who asks the service.
_READER_TIMEOUT, WRITER_TIMEOUT, COMMAND_TIMEOUT = 5.0, 10.0, 60.0


class SchemaState(Enum):
    """What a file holds, as seen by this version of the service."""

    NOTHING = "no catalog yet"
    OLDER = "a catalog of an earlier version, which serve, import, mirror, or a new token brings to this one"
    CURRENT = "a catalog of this version"


def schema_state(path: Path) -> SchemaState:
    """Tell what the file holds, without changing it.

    Raises CatalogUnavailable where it is something else than a catalog, or one of a later version.
    """
    with translate_errors(path):
        if not path.exists():
            return SchemaState.NOTHING
        with closing(_open(path)) as db, db.atomic():  # one look, though others may be writing
            applied = {migration.name for migration in MIGRATIONS.applied(db)}
            pending = {migration.name for migration in MIGRATIONS.pending(db)}
            if not applied and db.table_names():
                raise CatalogUnavailable(f"{path} is a database of something else")
    if applied - _known_migrations():
        raise CatalogUnavailable(f"{path} was made by a later version of compute-images")
    return SchemaState.NOTHING if not applied else SchemaState.OLDER if pending else SchemaState.CURRENT


def _known_migrations() -> set[str]:
    """Give the names of all migrations: those that are to be applied to nothing."""
    with closing(Database(memory=True, execute_plugins=False)) as nothing:
        return {migration.name for migration in MIGRATIONS.pending(nothing)}


def open_reader(path: Path) -> Database:
    """Open the catalog for reading alone; it is never made. Raises CatalogUnavailable."""
    with translate_errors(path):
        return _open(path)


def open_current(path: Path) -> Database:
    """Open a catalog of this version for reading. Raises CatalogUnavailable where there is another, or none."""
    found = schema_state(path)
    if found is not SchemaState.CURRENT:
        raise CatalogUnavailable(f"{path} holds {found.value}")
    return open_reader(path)


@contextmanager
def transaction(path: Path, *, patience: float = COMMAND_TIMEOUT) -> Iterator[Database]:
    """Open the catalog for one transaction: all that is done in it comes to be, or nothing.

    File, folder and tables are made where they are missing. Readers go on reading. Raises CatalogBusy when others
    write for longer than the patience in seconds, CatalogReadOnly, and CatalogUnavailable.
    """
    schema_state(path)
    with translate_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(Database(sqlite3.connect(path.absolute(), timeout=patience), execute_plugins=False)) as db:
            db.execute(f"PRAGMA cache_size = -{_WRITER_CACHE_KIB}")
            with _exclusive_lock(path.parent):
                db.enable_wal()
            db.conn.execute("BEGIN IMMEDIATE")  # a plain BEGIN may find, at its first write, that another came first
            try:
                MIGRATIONS.apply(db)
                yield db
            except BaseException:
                db.rollback()
                raise
            db.commit()


def _open(path: Path) -> Database:
    if sqlite3.sqlite_version_info < _MIN_SQLITE_VERSION:
        oldest = ".".join(map(str, _MIN_SQLITE_VERSION))
        raise CatalogUnavailable(f"SQLite {sqlite3.sqlite_version} is too old; it takes {oldest} or later")
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=_READER_TIMEOUT)
    connection.execute("PRAGMA query_only = 1")
    connection.execute(f"PRAGMA cache_size = -{_READER_CACHE_KIB}")
    return Database(connection, execute_plugins=False)


@contextmanager
def _exclusive_lock(folder: Path) -> Iterator[None]:
    """Wait for others that are here too: of two that turn a file to WAL at once, SQLite lets one fail."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def translate_errors(path: Path) -> Iterator[None]:
    """Make errors of SQLite and of the file system those of the domain."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        match getattr(error, "sqlite_errorname", errno.errorcode.get(getattr(error, "errno", None) or 0)):
            case "SQLITE_BUSY":
                raise CatalogBusy from error
            case "SQLITE_READONLY" | "SQLITE_READONLY_DIRECTORY" | "EACCES" | "EROFS":
                raise CatalogReadOnly(f"{path}: {error}") from error
        raise CatalogUnavailable(f"{path}: {error}") from error
