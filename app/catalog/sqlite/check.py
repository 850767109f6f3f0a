"""The check of a catalog in a SQLite file."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from sqlite_utils import Database

from app.catalog.engine import SchemaState
from app.catalog.models import Finding
from app.catalog.sqlite.database import open_reader, schema_state, translate_errors

_MAX_PROBLEMS = 10  # of the file's structure
_READABLE, _WRITABLE = 0o004, 0o002  # by others

_RESTORE = 'restore a backup (README, "Backup and restore")'
_REBUILD = "export the catalog, move it away, and import the export into a new one"

_ENTRY = "audience, deleted, created, sort_key, changed, status_type, min_disk, min_ram, name, server"
_COUNT_DIFFERENCES = f"""
SELECT
    (SELECT count(*) FROM (SELECT {_ENTRY} FROM image_index_entries EXCEPT SELECT {_ENTRY} FROM image_index)),
    (SELECT count(*) FROM (SELECT {_ENTRY} FROM image_index EXCEPT SELECT {_ENTRY} FROM image_index_entries))
"""  # noqa: S608 no user input
_HOLDS_SECRETS = """
SELECT EXISTS (SELECT 1 FROM tokens) OR EXISTS (SELECT 1 FROM images WHERE visibility IN ('private', 'shared'))
"""


def find_problems(path: Path, *, immutable: bool) -> Iterator[Finding]:
    """Yield what is wrong with the file. Raises what `schema_state` raises, and CatalogDamaged."""
    state = schema_state(path, immutable=immutable)
    if state is SchemaState.EMPTY:
        yield Finding(f"{path} holds {state.value}", "create it with serve, import or mirror")
        return
    with translate_errors(path), closing(open_reader(path, immutable=immutable)) as db:
        yield from _structure(db, path)
        if state is SchemaState.OUTDATED:
            yield Finding(f"{path} holds {state.value}", "back it up before the upgrade", is_warning=True)
            return
        yield from _image_index(db, path)
        yield from _permissions(db, path)


def _structure(db: Database, path: Path) -> Iterator[Finding]:
    for (line,) in db.execute(f"PRAGMA integrity_check({_MAX_PROBLEMS})"):
        if line != "ok":
            yield Finding(f"{path} is damaged: {line}", _RESTORE)


def _image_index(db: Database, path: Path) -> Iterator[Finding]:
    missing, surplus = db.execute(_COUNT_DIFFERENCES).fetchone()
    if missing or surplus:
        problem = f"{path}: the index of the lists lacks {missing} entries, and has {surplus} that belong to no image"
        yield Finding(problem, _REBUILD)


def _permissions(db: Database, path: Path) -> Iterator[Finding]:
    (holds_secrets,) = db.execute(_HOLDS_SECRETS).fetchone()
    files = [file for suffix in ("", "-wal", "-shm") if (file := path.with_name(f"{path.name}{suffix}")).exists()]
    writable = [str(file) for file in files if file.stat().st_mode & _WRITABLE]
    readable = [str(file) for file in files if file.stat().st_mode & _READABLE]
    if writable:
        yield Finding(f"everybody can write to {', '.join(writable)}", f"chmod o-rw {' '.join(writable)}", True)
    elif readable and holds_secrets:
        problem = f"everybody can read {', '.join(readable)}, but there are tokens, or images that are not public"
        yield Finding(problem, f"chmod o-rw {' '.join(readable)}", True)
