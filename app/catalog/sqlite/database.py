"""The database file of a catalog: opening it, and finding out what it contains."""

import errno
import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from sqlite_utils import Database
from sqlite_utils.utils import sqlite3  # type: ignore[attr-defined]

from app.catalog.engine import SchemaState
from app.catalog.errors import (
    CatalogBusy,
    CatalogDamaged,
    CatalogMissing,
    CatalogOfLaterVersion,
    CatalogReadOnly,
    CatalogUnavailable,
    ReadLimitExceeded,
)
from app.catalog.sqlite.migrations import MIGRATIONS, migrate, migrated_by, migration_names
from app.catalog.sqlite.rows import DamagedValue
from app.errors import DomainError
from app.resources import version

_MIN_SQLITE_VERSION = (3, 38, 0)  # the first with the operator ->>
# Page caches in KiB: for a reader, the pages that one read needs several times, as reading a page that the system has
# cached takes only 1 µs; for a writer, those that a long import revisits.
_READER_CACHE_KIB, _WRITER_CACHE_KIB = 4_000, 64_000
LOCK_TIMEOUT = 5.0  # seconds that a reader waits for a process that has locked the file
_SHARED_MEMORY_BYTES = 32_768  # at least
_RETRY_INTERVAL = 0.02  # seconds
# Beginnings of the names of SQLite's and the system's errors.
_TRANSLATIONS: Mapping[str, Callable[[str], DomainError]] = {
    "SQLITE_INTERRUPT": lambda _: ReadLimitExceeded(),
    "SQLITE_BUSY": lambda _: CatalogBusy(),
    "SQLITE_READONLY": CatalogReadOnly,
    "EACCES": CatalogReadOnly,
    "EROFS": CatalogReadOnly,
    "SQLITE_CORRUPT": CatalogDamaged,
    "SQLITE_NOTADB": CatalogDamaged,
}
_SHARED_MEMORY_ERRORS = ("SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_IOERR", "SQLITE_FULL")
_NAMES_BY_MESSAGE = {  # of the errors of `Connection.backup`, which have no name in pysqlite3
    "database or disk is full": "SQLITE_FULL",
    "disk I/O error": "SQLITE_IOERR",
    "unable to open database file": "SQLITE_CANTOPEN",
    "database disk image is malformed": "SQLITE_CORRUPT",
    "file is not a database": "SQLITE_NOTADB",
}
_DAMAGE_MESSAGES = ("Could not decode to UTF-8", "malformed JSON")  # of errors without a name of their own
PRIVATE = 0o600  # the mode of new files: a catalog contains images that not everybody may see
# Suffixes of the names of files beside a database: those that SQLite has while it is open, and those of the mirror.
SQLITE_SUFFIXES = ("-wal", "-shm", "-journal")
STATUS, NEW_STATUS, MIRROR_LOCK = ".mirror", ".mirror.new", ".mirror-lock"


def schema_state(path: Path, *, immutable: bool = False) -> SchemaState:
    """Return what the file contains, without changing it.

    Raises CatalogUnavailable for a database of another application, and CatalogOfLaterVersion.
    """
    with translate_errors(path):
        if not path.exists():
            return SchemaState.EMPTY
        require_regular_file(path.stat().st_mode, path)
        # One snapshot, as others may be writing.
        with closing(open_reader(path, immutable=immutable)) as db, db.atomic():
            applied = {migration.name for migration in MIGRATIONS.applied(db)}
            pending = {migration.name for migration in MIGRATIONS.pending(db)}
            if not applied and db.table_names():
                raise CatalogUnavailable(f"{path} is a database of another application")
            if applied - migration_names():
                raise CatalogOfLaterVersion(str(path), migrated_by(db), version())
    return SchemaState.EMPTY if not applied else SchemaState.OUTDATED if pending else SchemaState.CURRENT


def require_catalog(path: Path, *, immutable: bool = False) -> SchemaState:
    """Return what the file contains. Raises CatalogMissing if that is no catalog, and what `schema_state` raises."""
    state = schema_state(path, immutable=immutable)
    if state is SchemaState.EMPTY:
        raise CatalogMissing(str(path))
    return state


def open_reader(
    path: Path, *, immutable: bool = False, lock_timeout: float = LOCK_TIMEOUT, is_shared: bool = False
) -> Database:
    """Open the file read-only, without creating it. Raises CatalogUnavailable.

    An immutable file is read without locks and without a write-ahead log: nothing may write to it. Reads of another
    file raise CatalogBusy if a process locks it for longer than the timeout (seconds). `is_shared` states that several
    threads use the connection, one at a time.
    """
    if sqlite3.sqlite_version_info < _MIN_SQLITE_VERSION:
        oldest = ".".join(map(str, _MIN_SQLITE_VERSION))
        raise CatalogUnavailable(f"SQLite {sqlite3.sqlite_version} is too old: version {oldest} or later is required")
    with translate_errors(path):
        uri = f"{path.absolute().as_uri()}?mode=ro{'&immutable=1' if immutable else ''}"
        connection = sqlite3.connect(uri, uri=True, timeout=lock_timeout, check_same_thread=not is_shared)
        connection.execute("PRAGMA query_only = 1")
        try:
            connection.execute(f"PRAGMA cache_size = -{_READER_CACHE_KIB}")  # the first statement that reads the file
        except sqlite3.Error as error:
            connection.close()
            is_possible = error_name(error).startswith(_SHARED_MEMORY_ERRORS)
            if is_possible and os.access(path, os.R_OK) and not _has_shared_memory(path):
                raise CatalogUnavailable(
                    f"{path}: {error}: SQLite cannot create {path.name}-shm, which the write-ahead log needs. Make the "
                    'folder writable, or free space; to serve a read-only folder, see README, "Several processes"'
                ) from error
            raise
        return Database(connection, execute_plugins=False)


@contextmanager
def write_transaction(path: Path, *, timeout: float, max_wal_bytes: int) -> Iterator[tuple[Database, SchemaState]]:
    """Open the file for one transaction; create or upgrade it if necessary. Readers are not blocked.

    Yields the database, and what it contained before. Afterwards, a write-ahead log of more than the given size
    is emptied. Raises CatalogBusy if other writers take longer than the timeout (seconds), CatalogReadOnly, and
    CatalogUnavailable.
    """
    schema_state(path)
    with translate_errors(path):
        create_file(path)
        with open_writer(path, timeout=timeout, max_wal_bytes=max_wal_bytes) as db:
            # A deferred BEGIN could fail at its first write, if another writer was faster.
            db.conn.execute("BEGIN IMMEDIATE")
            try:
                yield db, migrate(db)
            except BaseException:
                db.rollback()
                raise
            db.commit()
            limit_wal(db, path, max_wal_bytes)


@contextmanager
def open_writer(path: Path, *, timeout: float, max_wal_bytes: int) -> Iterator[Database]:
    """Open an existing file for writing, in WAL mode. The timeout (seconds) is that of all waits for other writers."""
    deadline = time.monotonic() + timeout
    with closing(Database(sqlite3.connect(path.absolute(), timeout=_RETRY_INTERVAL), execute_plugins=False)) as db:
        _enable_wal(db, deadline)
        _set_timeout(db, deadline - time.monotonic())
        db.execute(f"PRAGMA cache_size = -{_WRITER_CACHE_KIB}")
        db.execute(f"PRAGMA journal_size_limit = {max_wal_bytes}")
        yield db


@contextmanager
def translate_errors(path: Path) -> Iterator[None]:
    """Translate errors of SQLite and of the file system, and damaged values, to errors of the domain.

    These are CatalogBusy, CatalogReadOnly, CatalogDamaged, CatalogUnavailable and ReadLimitExceeded.
    """
    try:
        yield
    except (sqlite3.Error, OSError, UnicodeDecodeError, DamagedValue) as error:
        if isinstance(error, UnicodeDecodeError | DamagedValue) or str(error).startswith(_DAMAGE_MESSAGES):
            raise CatalogDamaged(f"{path}: {error}") from error
        name = error_name(error)
        for prefix, translated in _TRANSLATIONS.items():
            if name.startswith(prefix):
                raise translated(f"{path}: {error}") from error
        raise CatalogUnavailable(f"{path}: {error}") from error


def error_name(error: BaseException | None) -> str:
    """Return the name of an error of SQLite or of the file system; the empty string if it has none."""
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorname", None) or _NAMES_BY_MESSAGE.get(str(error), "")
    return errno.errorcode.get(getattr(error, "errno", None) or 0, "")


def beside(path: Path, suffix: str) -> Path:
    """Return the path of a file beside a database: its name, followed by the suffix."""
    return path.with_name(f"{path.name}{suffix}")


def catalog_files(path: Path) -> list[Path]:
    """Return the paths of a database and of all files that can be beside it; the same for all symbolic links to it."""
    return [beside(path.resolve(), suffix) for suffix in ("", *SQLITE_SUFFIXES, STATUS, NEW_STATUS, MIRROR_LOCK)]


def require_regular_file(mode: int, path: Path) -> None:
    """Raise CatalogUnavailable for a folder or a device, and for a pipe, which SQLite would wait for without an end."""
    if not stat.S_ISREG(mode):
        raise CatalogUnavailable(f"{path} is not a regular file")


def _has_shared_memory(path: Path) -> bool:
    """Return whether the file that connections in WAL mode share exists completely."""
    file = beside(path, "-shm")
    return file.exists() and file.stat().st_size >= _SHARED_MEMORY_BYTES


def create_file(path: Path) -> None:
    """Create a missing file, and its folder. Only the owner can read it; SQLite gives this mode to its other files.

    An existing file is not opened: to close it again would release the locks of all connections of this process.
    """
    path = Path(os.path.realpath(path))  # O_EXCL does not follow a symbolic link, whose missing target SQLite creates
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, PRIVATE))


def _enable_wal(db: Database, deadline: float) -> None:
    """Switch the file to WAL mode. If two processes do so at once, one of them fails; SQLite does not wait here."""
    while True:
        try:
            db.enable_wal()
        except sqlite3.OperationalError as error:
            if not error_name(error).startswith("SQLITE_BUSY") or time.monotonic() > deadline:
                raise
            time.sleep(_RETRY_INTERVAL)
        else:
            return


def limit_wal(db: Database, path: Path, max_bytes: int) -> None:
    """Empty a write-ahead log that readers have let grow. If they still need it, a later transaction does."""
    # Without a log, for example on a file system that does not support it, there is nothing to do. The transaction has
    # been committed, so an error here must not look like a failure of it.
    with suppress(FileNotFoundError, sqlite3.Error):
        if beside(path, "-wal").stat().st_size > max_bytes:
            _set_timeout(db, 0)
            for mode in ("PASSIVE", "TRUNCATE"):  # the first copies the pages, while others write
                db.execute(f"PRAGMA wal_checkpoint({mode})")


def _set_timeout(db: Database, seconds: float) -> None:
    db.execute(f"PRAGMA busy_timeout = {max(0, int(seconds * 1000))}")
