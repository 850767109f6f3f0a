"""The check of a catalog in a SQLite file."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from sqlite_utils import Database

from app.catalog.check import compare_derived
from app.catalog.engine import SchemaState
from app.catalog.inspection import Finding
from app.catalog.sqlite.database import MIRROR_LOCK, STATUS, beside, open_reader, require_catalog, translate_errors

_MAX_PROBLEMS = 10  # of the file's structure
_READABLE, _WRITABLE = 0o044, 0o022  # by other users: the group, and others
_FOLDER_WRITABLE = 0o002  # by others; many systems give each user a group, and let it write to new folders
_LASTING = ("", "-wal", "-shm", STATUS, MIRROR_LOCK)  # suffixes of files that exist for more than a moment

_RESTORE = 'restore a backup (README, "Backup and restore")'

_ENTRY = "audience, deleted, created, sort_key, changed, status_type, min_disk, min_ram, name, server"
_ENTRIES = f"SELECT {_ENTRY} FROM image_index_entries", f"SELECT {_ENTRY} FROM image_index"  # noqa: S608 no user input
_MEMBERS = (
    """
    SELECT sequence, each.value FROM images CROSS JOIN json_each(members) AS each WHERE visibility = 'shared'
    UNION
    SELECT sequence, each.value FROM images CROSS JOIN json_each(pending_members) AS each WHERE visibility = 'shared'
    """,
    "SELECT sequence, project_id FROM image_members",
)
# What is derived from the images: the rows that there should be, and those that there are.
_DERIVED = {"the index of the lists": _ENTRIES, "the table of members": _MEMBERS}
_HOLDS_SECRETS = """
SELECT EXISTS (SELECT 1 FROM tokens) OR EXISTS (SELECT 1 FROM images WHERE visibility IN ('private', 'shared'))
"""


def find_problems(path: Path, *, immutable: bool) -> Iterator[Finding]:
    """Yield what is wrong with the file. Raises what `require_catalog` raises, and CatalogDamaged."""
    state = require_catalog(path, immutable=immutable)
    with translate_errors(path), closing(open_reader(path, immutable=immutable)) as db:
        yield from _structure(db, path)
        if state is SchemaState.OUTDATED:
            yield Finding(f"{path} holds {state.value}", "back it up before the upgrade", is_warning=True)
            return
        yield from _derived_tables(db, path)
        yield from _permissions(db, path)


def _structure(db: Database, path: Path) -> Iterator[Finding]:
    for (line,) in db.execute(f"PRAGMA integrity_check({_MAX_PROBLEMS})"):
        if line != "ok":
            yield Finding(f"{path} is damaged: {line}", _RESTORE)


def _derived_tables(db: Database, path: Path) -> Iterator[Finding]:
    for name, (expected, stored) in _DERIVED.items():
        missing, surplus = _count_surplus(db, expected, stored), _count_surplus(db, stored, expected)
        yield from compare_derived(f"{path}: {name}", missing, surplus)


def _count_surplus(db: Database, query: str, other: str) -> int:
    """Return how many rows of a query are not among those of another."""
    query = f"SELECT count(*) FROM (SELECT * FROM ({query}) EXCEPT SELECT * FROM ({other}))"  # noqa: S608 no user input
    return int(db.execute(query).fetchone()[0])


def _permissions(db: Database, path: Path) -> Iterator[Finding]:
    (holds_secrets,) = db.execute(_HOLDS_SECRETS).fetchone()
    path = path.resolve()
    files = [file for suffix in _LASTING if (file := beside(path, suffix)).exists()]
    writable = [str(file) for file in files if file.stat().st_mode & _WRITABLE]
    readable = [str(file) for file in files if file.stat().st_mode & _READABLE]
    if writable:
        yield Finding(f"other users can write to {', '.join(writable)}", f"chmod go-rw {' '.join(writable)}", True)
    elif readable and holds_secrets:
        problem = f"other users can read {', '.join(readable)}, but there are tokens, or images that are not public"
        yield Finding(problem, f"chmod go-rw {' '.join(readable)}", True)
    if path.parent.stat().st_mode & _FOLDER_WRITABLE:
        yield Finding(f"everybody can add files to {path.parent}", f"chmod o-w {path.parent}", True)
