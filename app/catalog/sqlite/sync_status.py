"""The status of the mirror's syncs, and the lock of the mirror, in files beside the database.

If the status were in a table, every sync would change the version of the catalog and thereby clear the response cache.
The files are the same for all symbolic links to the catalog.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from app.catalog.models import SyncStatus
from app.catalog.sqlite.database import MIRROR_LOCK, NEW_STATUS, PRIVATE, STATUS, beside, translate_errors
from app.catalog.sync_status import dump_sync_status, parse_sync_status
from app.errors import MirrorAlreadyRunning


def read_sync_status(catalog: Path) -> SyncStatus:
    """Return the stored status; an empty one if the file is missing, damaged, or of an earlier version."""
    try:
        with open(beside(catalog.resolve(), STATUS), "rb", opener=_open_private) as file:
            return parse_sync_status(file.read())
    except OSError:
        return SyncStatus()


def write_sync_status(catalog: Path, status: SyncStatus) -> None:
    """Replace the stored status atomically. Raises CatalogUnavailable."""
    file, new = (beside(catalog.resolve(), suffix) for suffix in (STATUS, NEW_STATUS))
    with translate_errors(file):
        with open(new, "wb", opener=_open_private) as stream:
            stream.write(dump_sync_status(status))
        new.replace(file)


@contextmanager
def mirror_lock(catalog: Path) -> Iterator[None]:
    """Hold the lock that only one mirror of a catalog can have. It is released when the process ends, at the latest.

    Raises MirrorAlreadyRunning, and CatalogUnavailable if the lock file cannot be written.
    """
    with translate_errors(catalog):
        catalog.parent.mkdir(parents=True, exist_ok=True)
        file = open(beside(catalog.resolve(), MIRROR_LOCK), "wb", opener=_open_private)  # noqa: SIM115 closed below
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise MirrorAlreadyRunning(str(catalog)) from None
        yield


def _open_private(path: str, flags: int) -> int:
    """Open a file that only the owner can read if it is new, and do not wait for the other end of a pipe."""
    return os.open(path, flags | os.O_NONBLOCK, PRIVATE)
