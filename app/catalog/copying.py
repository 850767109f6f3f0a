"""Copies of a catalog from one engine to another, and backups of catalogs that are not stored in files.

Records are streamed from the source to the target; they are not all held in memory.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from app.catalog.engine import COMMAND_TIMEOUT, Engine, Snapshot, Transaction
from app.catalog.errors import CatalogUnavailable
from app.catalog.models import SyncStatus

OpenFile = Callable[[Path], Engine]  # opens a catalog in a file


def copy_catalog(source: Snapshot, target: Transaction) -> None:
    """Replace the contents of a catalog by those of another, which may have another engine.

    Images and tombstones keep their order and their sync marks; tokens keep the hashes of their secrets. The status of
    the mirror's syncs is not copied, because it is not part of a snapshot.
    """
    target.delete_images()
    for token in target.tokens():
        target.delete_token(token.id)
    target.insert_records(source.records())
    for token, secret_hash in source.tokens().items():
        target.add_token(token, secret_hash)
    target.set_upstream(source.upstream())


def write_backup(engine: Engine, file: Path, open_file: OpenFile) -> None:
    """Copy one state of a catalog to a temporary file next to the backup, and back up this file.

    Raises CatalogUnavailable.
    """
    status = engine.read_sync_status()  # before the images: an older status makes the next sync read more, not less
    real = file.resolve()
    with _working_copy(open_file, folder=real.parent, prefix=f"{real.name}.") as copy:
        with engine.open_snapshot() as source, copy.transaction(timeout=COMMAND_TIMEOUT) as target:
            copy_catalog(source, target)
        copy.write_sync_status(status)
        copy.backup(file)


@contextmanager
def open_backup(file: Path, open_file: OpenFile) -> Iterator[tuple[Snapshot, SyncStatus]]:
    """Check a backup, and yield its contents and its status of the mirror. Raises what `Engine.restore` raises.

    The contents are read from a temporary copy, which is migrated if an earlier version created the backup.
    """
    with _working_copy(open_file) as copy:
        copy.restore(file, timeout=COMMAND_TIMEOUT)
        with copy.open_snapshot() as source:
            yield source, copy.read_sync_status()


@contextmanager
def _working_copy(
    open_file: OpenFile, *, folder: Path | None = None, prefix: str = "compute-images-"
) -> Iterator[Engine]:
    """Yield a new catalog in a temporary folder inside `folder` (by default, the system's), which is then removed."""
    try:
        temporary = TemporaryDirectory(prefix=prefix, dir=folder)
    except OSError as error:
        raise CatalogUnavailable(f"{error.filename}: {error.strerror}") from error
    with temporary:
        yield open_file(Path(temporary.name) / "catalog.db")
