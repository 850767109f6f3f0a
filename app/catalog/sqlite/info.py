"""What is known of a catalog's file without reading images: its size, its migrations, and the processes that use it."""

import os
import re
from contextlib import closing, suppress
from pathlib import Path

from app.catalog.inspection import CatalogUser, DatabaseInfo
from app.catalog.sqlite.database import MIRROR_LOCK, beside, open_reader, require_catalog, translate_errors
from app.catalog.sqlite.migrations import MIGRATIONS, migrated_by

_LOCKS = Path("/proc/locks")  # of Linux: the locks of all files, each with the process that holds it
_LOCK = re.compile(
    r"^\d+: (?:POSIX|FLOCK) +\w+ +(?:READ|WRITE) +(\d+) ([0-9a-f]+):([0-9a-f]+):(\d+) (\d+) (?:\d+|EOF)$", re.MULTILINE
)
# Bytes of the file that connections in WAL mode share: each connection locks one, and the writer another one.
# https://sqlite.org/walformat.html#wal_locks
_CONNECTION_BYTE, _WRITER_BYTE = 128, 120
_MAX_COMMAND = 200  # characters

_FileId = tuple[int, int]  # device and inode


def read_info(path: Path, *, immutable: bool) -> DatabaseInfo:
    """Return the size of the file with its write-ahead log, and who migrated it. Raises what `Engine.info` raises."""
    require_catalog(path, immutable=immutable)
    with translate_errors(path), closing(open_reader(path, immutable=immutable)) as db, db.atomic():
        size = sum(file.stat().st_size for file in (path, beside(path, "-wal")) if file.exists())
        return DatabaseInfo(size, MIGRATIONS.applied(db)[-1].name, migrated_by(db))


def find_users(path: Path) -> list[CatalogUser] | None:
    """Return the processes that have the file open, or are its mirror, without this one.

    Returns None where the system does not list locks: this process has the file open too, and is looked for. Those of
    another container are never listed.
    """
    with translate_errors(path), closing(open_reader(path)) as db:
        db.execute("SELECT 1 FROM sqlite_schema").fetchone()
        locks = _read_locks()
    real = path.resolve()
    shared, mirror = _file_id(beside(real, "-shm")), _file_id(beside(real, MIRROR_LOCK))
    connected, writers = (locks.get((shared, byte), set()) for byte in (_CONNECTION_BYTE, _WRITER_BYTE))
    if os.getpid() not in connected:
        return None
    mirrors = locks.get((mirror, 0), set())
    pids = sorted((connected | writers | mirrors) - {os.getpid()})
    return [CatalogUser(pid, _command(pid), pid in writers, pid in mirrors) for pid in pids]


def _read_locks() -> dict[tuple[_FileId | None, int], set[int]]:
    """Return the processes that hold a lock, by the file and the first byte of the lock."""
    holders: dict[tuple[_FileId | None, int], set[int]] = {}
    with suppress(OSError):
        for pid, major, minor, inode, byte in _LOCK.findall(_LOCKS.read_text()):
            file = os.makedev(int(major, 16), int(minor, 16)), int(inode)
            holders.setdefault((file, int(byte)), set()).add(int(pid))
    return holders


def _file_id(file: Path) -> _FileId | None:
    """Return the device and the inode of a file; None if there is none."""
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _command(pid: int) -> str:
    """Return the beginning of a process's command line; the empty string if it has ended, or hides it."""
    try:
        line = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return ""
    return line.replace(b"\0", b" ").decode(errors="replace").strip()[:_MAX_COMMAND]
