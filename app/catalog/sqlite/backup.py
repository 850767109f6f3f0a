"""Backs up a catalog to one file, and restores it.

SQLite's online backup copies pages. Within a read transaction, it copies one snapshot, whatever other connections
write; outside of a transaction, SQLite would start over after each change.

A backup also contains the status of the mirror's syncs, which a catalog has in a sidecar file.
"""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlite_utils import Database
from sqlite_utils.utils import sqlite3  # type: ignore[attr-defined]

from app.catalog.engine import SchemaState
from app.catalog.errors import CatalogBusy, CatalogDamaged, CatalogOfLaterVersion, CatalogUnavailable
from app.catalog.models import SyncStatus
from app.catalog.sqlite.database import (
    SQLITE_SUFFIXES,
    beside,
    catalog_files,
    create_file,
    error_name,
    limit_wal,
    open_reader,
    open_writer,
    require_catalog,
    schema_state,
    translate_errors,
    write_transaction,
)
from app.catalog.sqlite.reader import SQLiteSnapshot
from app.catalog.sqlite.sync_status import read_sync_status, write_sync_status
from app.catalog.sync_status import dump_sync_status, parse_sync_status

BACKUP_STEP = 10_000  # pages that are copied at a time: 40 MB. Python handles signals between steps
_STATUS = "backup_sync_status"  # the table that only a backup has
# Beginnings of the names of errors that have other causes than what a file contains, such as a full disk.
_DISK_ERRORS = ("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_CANTOPEN", "SQLITE_READONLY", "E")


def write_backup(catalog: Path, file: Path, *, immutable: bool, step: int) -> None:
    """Copy a snapshot of the catalog to a file. It replaces an existing file once it is complete and was checked.

    `step` is the number of pages that are copied at a time. Writers are not delayed. Raises CatalogUnavailable.
    """
    require_catalog(catalog, immutable=immutable)
    _require_writable(file, catalog)
    # Read before the images: with a status that is older than the images, the next sync reads more than it needs to;
    # with a newer one, it would miss changes.
    status = read_sync_status(catalog)
    with _working_copy(file) as copy:
        with _copy_errors(catalog, file.parent, copy):
            with closing(Database(copy, execute_plugins=False)) as target:
                _copy(catalog, target, immutable=immutable, step=step)
            _put_sync_status(copy, status)
            _require_sound(copy)
        copy.replace(file.resolve())


def restore_backup(catalog: Path, file: Path, *, timeout: float, max_wal_bytes: int) -> None:
    """Replace the contents of the catalog by a backup, in one transaction: running services see it like any change.

    The backup is checked first, and migrated if an earlier version created it. Raises CatalogBusy if other writers take
    longer than the timeout (seconds), and CatalogUnavailable.
    """
    if schema_state(file) is SchemaState.EMPTY:
        raise CatalogUnavailable(f"{file} holds no catalog")
    with suppress(CatalogDamaged, CatalogOfLaterVersion):  # both are reasons to restore a backup
        schema_state(catalog)
    with translate_errors(catalog):
        catalog.parent.mkdir(parents=True, exist_ok=True)
    with _working_copy(catalog) as copy:
        with _copy_errors(file, catalog.parent, copy):
            with closing(Database(copy, execute_plugins=False)) as target:
                _copy(file, target)
            with write_transaction(copy, timeout=timeout, max_wal_bytes=0) as (db, _):  # migrates it
                status = _take_sync_status(db)
            _require_sound(copy)
        with _sync_status_replaced(catalog, status), closing(Database(copy, execute_plugins=False)) as source:
            _overwrite(catalog, source, timeout=timeout, max_wal_bytes=max_wal_bytes)


def copy_to_memory(catalog: Path, *, immutable: bool, max_wal_bytes: int) -> Callable[[float], None]:
    """Copy one state of the catalog to memory. Return a function that writes the copy back, in one transaction.

    It waits for other writers as long as its parameter says, in seconds. Raises CatalogUnavailable.
    """
    require_catalog(catalog, immutable=immutable)
    copy = Database(sqlite3.connect(":memory:", check_same_thread=False), execute_plugins=False)
    _copy(catalog, copy, immutable=immutable)
    return lambda timeout: _overwrite(catalog, copy, timeout=timeout, max_wal_bytes=max_wal_bytes)


def _require_writable(file: Path, catalog: Path) -> None:
    """Raise CatalogUnavailable for a file of the catalog, and for a database that is in use.

    SQLite would apply the log beside it to the new file.
    """
    with translate_errors(file):
        if not file.parent.is_dir():
            raise CatalogUnavailable(f"{file} cannot be written: {file.parent} is not a folder")
        real = file.resolve()
        if real in catalog_files(catalog) or (real.exists() and real.samefile(catalog)):
            raise CatalogUnavailable(f"{file} is the catalog itself, or a part of it: name another file for its backup")
        others = [other for suffix in SQLITE_SUFFIXES if (other := beside(real, suffix)).exists()]
    if others:
        raise CatalogUnavailable(
            f"{others[0]} exists, so {file} is a database in use: name another file for the backup"
        )


@contextmanager
def _working_copy(file: Path) -> Iterator[Path]:
    """Yield the path of a new empty file, in a temporary folder next to a file. Only the owner can read the folder.

    It is removed at the end.
    """
    real = file.resolve()
    with translate_errors(file), TemporaryDirectory(prefix=f"{real.name}.", dir=real.parent) as folder:
        copy = Path(folder) / "copy.db"
        create_file(copy)
        yield copy


def _copy(origin: Path, target: Database, *, immutable: bool = False, step: int = BACKUP_STEP) -> None:
    """Copy one state of a catalog to an empty database, without a write-ahead log beside it."""
    with closing(open_reader(origin, immutable=immutable)) as source:
        source.conn.execute("BEGIN")
        source.conn.execute("SELECT 1 FROM sqlite_schema").fetchone()  # begins the read transaction
        _copy_pages(source, target, step)
        target.disable_wal()


@contextmanager
def _sync_status_replaced(catalog: Path, status: SyncStatus) -> Iterator[None]:
    """Store a status, and restore the earlier one if the block fails.

    The status is written before the images: in between, a replica may look older than it is, but never newer.
    """
    earlier = read_sync_status(catalog)
    if status == earlier:
        yield
        return
    write_sync_status(catalog, status)
    try:
        yield
    except BaseException:
        write_sync_status(catalog, earlier)
        raise


def _overwrite(catalog: Path, source: Database, *, timeout: float, max_wal_bytes: int) -> None:
    """Write all pages of the copy to the catalog, in one transaction. Readers are not blocked."""
    create_file(catalog)
    try:
        with translate_errors(catalog), open_writer(catalog, timeout=timeout, max_wal_bytes=max_wal_bytes) as target:
            _match_page_size(source, target)
            _copy_pages(source, target, BACKUP_STEP)
            limit_wal(target, catalog, max_wal_bytes)
    except CatalogDamaged as error:
        raise CatalogDamaged(
            f"{error}: it is not a catalog, or too damaged to be written to. If IMAGES_CATALOG is right, stop the "
            f"service, delete {catalog}, {catalog}-wal and {catalog}-shm, and restore the backup again"
        ) from error


def _match_page_size(source: Database, target: Database) -> None:
    """Rebuild the source with the page size of the target, which a database in WAL mode cannot change."""
    ((own,), (size,)) = (db.execute("PRAGMA page_size").fetchone() for db in (source, target))
    if own != size:
        source.disable_wal()
        source.execute(f"PRAGMA page_size = {size}")
        source.execute("VACUUM")


def _copy_pages(source: Database, target: Database, step: int) -> None:
    source.conn.backup(target.conn, pages=step, progress=_stop_if_busy, sleep=0)


def _stop_if_busy(status: int, _remaining: int, _total: int) -> None:
    """Raise CatalogBusy if a step timed out: Python would repeat it forever."""
    if status in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        raise CatalogBusy


def _put_sync_status(copy: Path, status: SyncStatus) -> None:
    """Store the status of the syncs in a backup."""
    with closing(Database(copy, execute_plugins=False)) as db, db.atomic():
        db.execute(f"CREATE TABLE IF NOT EXISTS {_STATUS} (document TEXT NOT NULL) STRICT")
        db.execute(f"DELETE FROM {_STATUS}")  # noqa: S608 no user input
        db.execute(f"INSERT INTO {_STATUS} VALUES (?)", [dump_sync_status(status).decode()])  # noqa: S608 no user input


def _take_sync_status(db: Database) -> SyncStatus:
    """Remove the status of the syncs from a backup, and return it, or an empty one if the file has none."""
    row = db.execute(f"SELECT document FROM {_STATUS}").fetchone() if _STATUS in db.table_names() else None  # noqa: S608 no user input
    db.execute(f"DROP TABLE IF EXISTS {_STATUS}")
    return parse_sync_status(row[0]) if row else SyncStatus()


@contextmanager
def _copy_errors(origin: Path, folder: Path, copy: Path) -> Iterator[None]:
    """Raise CatalogDamaged for the origin of a copy that is unavailable, unless the folder is what cannot be used."""
    try:
        with translate_errors(copy):
            yield
    except CatalogBusy:
        raise
    except CatalogUnavailable as error:
        reason = str(error).removeprefix(f"{copy}: ")
        if error_name(error.__cause__).startswith(_DISK_ERRORS):
            raise CatalogUnavailable(f"{origin} cannot be copied to the folder {folder}: {reason}") from error
        raise CatalogDamaged(f"{origin} is damaged: {reason}") from error


def _require_sound(copy: Path) -> None:
    """Raise an error if the copy is damaged or cannot be read. One of an earlier version is not read."""
    is_current = schema_state(copy) is SchemaState.CURRENT
    with closing(open_reader(copy)) as db:
        (problem,) = db.execute("PRAGMA quick_check(1)").fetchone()
        if problem != "ok":
            raise CatalogDamaged(problem.splitlines()[-1])  # the first line names the database
        if is_current:
            snapshot = SQLiteSnapshot(db.conn)
            snapshot.ping()
            snapshot.tokens()
