"""The version of a catalog in a file."""

from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from app.catalog.sqlite import database

if TYPE_CHECKING:
    from sqlite_utils.utils import sqlite3  # type: ignore[attr-defined]

# Seconds that reads on the event loop, and all reads of the version, wait for a process that has locked the file.
LOOP_LOCK_TIMEOUT = 0.01


class VersionReader:
    """Reads SQLite's data version, which changes with every commit, on a connection that all threads share.

    Each connection counts the commits of the others, so the versions that two connections read cannot be compared.
    """

    def __init__(self, path: Path, *, immutable: bool) -> None:
        """Set the file, which is opened when its version is first read."""
        self._path = path
        self._immutable = immutable
        self._lock = Lock()
        self._connection: sqlite3.Connection | None = None

    def read(self) -> int:
        """Return the version of the last committed state. Raises CatalogUnavailable, and errors of SQLite."""
        with self._lock:
            if self._connection is None:
                self._connection = database.open_reader(
                    self._path, immutable=self._immutable, lock_timeout=LOOP_LOCK_TIMEOUT, is_shared=True
                ).conn
            version: int = self._connection.execute("PRAGMA data_version").fetchone()[0]
        return version
