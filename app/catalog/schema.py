"""The tables of the catalog, and how its file is opened: to read, or to write."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from enum import Enum
from pathlib import Path

from sqlite_utils import Database
from sqlite_utils.migrations import Migrations
from sqlite_utils.utils import sqlite3  # type: ignore[attr-defined]

from app.faults import CatalogUnavailable

_OLDEST_SQLITE = (3, 38, 0)  # ->> is from there
# KiB of the file: for a reader some pages of a thousand images, for a writer what a long import goes back to.
_READER_KEEPS, _WRITER_KEEPS = 16_000, 256_000
_READER_WAITS, _WRITER_WAITS = 5.0, 60.0  # seconds, for another process that holds the file

_SHARE = """INSERT INTO memberships
        SELECT value, new.position, new.created, new.rank, new.updated, new.name, new.status, new.server,
               new.image_type, new.origin
        FROM json_each(new.members) WHERE new.visibility = 'shared' AND value IS NOT new.owner"""

# What is filtered on inside the metadata is a generated column, so that there is one truth. Each index serves one
# filter for one audience and walks in the order of the answer: newest first, ties as they came. `rank` stands in for
# the position because both have to run the same way for a page to be found by key. Of two filters SQLite, which knows
# no numbers here, takes the index that was made last: those that find the fewest images come at the end.
_TABLES = (
    """
    CREATE TABLE images (
        position INTEGER PRIMARY KEY,  -- the order in which images came into the catalog
        id TEXT NOT NULL UNIQUE,
        name TEXT,
        status TEXT NOT NULL,  -- of a tombstone: DELETED
        progress INTEGER NOT NULL,
        created TEXT NOT NULL,  -- times are UTC to the second, such as 2011-01-01T01:02:03Z
        updated TEXT NOT NULL,
        min_disk INTEGER NOT NULL,
        min_ram INTEGER NOT NULL,
        size INTEGER,
        metadata TEXT NOT NULL CHECK (json_type(metadata) = 'object'),
        owner TEXT,  -- tenants are in lower case, without dashes
        visibility TEXT NOT NULL,
        members TEXT NOT NULL CHECK (json_type(members) = 'array'),  -- the tenants that accepted a shared image
        rank INTEGER GENERATED ALWAYS AS (-position),
        audience TEXT GENERATED ALWAYS AS (CASE visibility WHEN 'public' THEN 'public' ELSE owner END),
        server TEXT GENERATED ALWAYS AS (nullif(metadata ->> '$.instance_uuid', '')) STORED,  -- every page shows it
        image_type TEXT GENERATED ALWAYS AS (metadata ->> '$.image_type'),
        origin TEXT GENERATED ALWAYS AS (
            CASE WHEN server IS NOT NULL OR image_type IN ('snapshot', 'backup') THEN 'SERVER' ELSE 'BASE' END
        )
    ) STRICT
    """,
    """
    CREATE TABLE memberships (  -- shared images, once for each tenant that accepted one: what images has for its owner
        audience TEXT NOT NULL,
        position INTEGER NOT NULL,
        created TEXT NOT NULL,
        rank INTEGER NOT NULL,
        updated TEXT NOT NULL,
        name TEXT,
        status TEXT NOT NULL,
        server TEXT,
        image_type TEXT,
        origin TEXT NOT NULL,
        PRIMARY KEY (position, audience)
    ) STRICT, WITHOUT ROWID
    """,
    f"""
    CREATE TRIGGER share_new AFTER INSERT ON images WHEN new.visibility = 'shared' AND new.members <> '[]' BEGIN
        {_SHARE};
    END
    """,
    f"""
    CREATE TRIGGER share_changed AFTER UPDATE ON images WHEN 'shared' IN (old.visibility, new.visibility) BEGIN
        DELETE FROM memberships WHERE position = old.position;
        {_SHARE};
    END
    """,  # noqa: S608 what is put in is ours
    """
    CREATE TRIGGER share_no_more AFTER DELETE ON images WHEN old.visibility = 'shared' BEGIN
        DELETE FROM memberships WHERE position = old.position;
    END
    """,
    *(
        statement.format(table=table)
        for table in ("images", "memberships")
        for statement in (
            "CREATE INDEX {table}_by_age ON {table} (audience, created, rank)",
            "CREATE INDEX {table}_by_status ON {table} (audience, status, created, rank)",
            "CREATE INDEX {table}_by_origin ON {table} (audience, origin, created, rank)",
            "CREATE INDEX {table}_by_type ON {table} (audience, image_type, created, rank) WHERE image_type NOT NULL",
            "CREATE INDEX {table}_by_name ON {table} (audience, name, created, rank)",
            "CREATE INDEX {table}_by_server ON {table} (audience, server, created, rank) WHERE server IS NOT NULL",
            "CREATE INDEX {table}_by_change ON {table} (audience, updated)",
        )
    ),
)

_migrations = Migrations("compute-images")


@_migrations(name="1: images")
def _create_tables(db: Database) -> None:
    for statement in _TABLES:
        db.execute(statement)


class State(Enum):
    """What a file holds, as seen by this version of the service."""

    NOTHING = "no catalog yet"
    OLDER = "a catalog of an earlier version"
    CURRENT = "a catalog of this version"


def state(path: Path) -> State:
    """Tell what the file holds, without changing it.

    Raises CatalogUnavailable where it is something else than a catalog, or one of a later version.
    """
    with _as_unavailable(path):
        if not path.exists():
            return State.NOTHING
        with closing(_open(path)) as db, db.atomic():  # one look, though others may be writing
            applied = {migration.name for migration in _migrations.applied(db)}
            pending = {migration.name for migration in _migrations.pending(db)}
            if not applied and db.table_names():
                raise CatalogUnavailable(f"{path} is a database of something else")
    if applied - _known():
        raise CatalogUnavailable(f"{path} was made by a later version of compute-images")
    return State.NOTHING if not applied else State.OLDER if pending else State.CURRENT


def _known() -> set[str]:
    """Give the names of all migrations: those that are to be applied to nothing."""
    with closing(Database(memory=True, execute_plugins=False)) as nothing:
        return {migration.name for migration in _migrations.pending(nothing)}


def reading(path: Path) -> Database:
    """Open the catalog for reading alone; it is never made. Raises CatalogUnavailable."""
    with _as_unavailable(path):
        return _open(path)


@contextmanager
def writing(path: Path) -> Iterator[Database]:
    """Open the catalog for one transaction: all that is done in it comes to be, or nothing.

    File, folder and tables are made where they are missing. Readers go on reading. Raises CatalogUnavailable.
    """
    state(path)
    with _as_unavailable(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(Database(sqlite3.connect(path.absolute(), timeout=_WRITER_WAITS), execute_plugins=False)) as db:
            db.execute(f"PRAGMA cache_size = -{_WRITER_KEEPS}")
            with _alone_in(path.parent):
                db.enable_wal()
            db.conn.execute("BEGIN IMMEDIATE")  # a plain BEGIN may find, at its first write, that another came first
            try:
                _migrations.apply(db)
                yield db
            except BaseException:
                db.rollback()
                raise
            db.commit()


def _open(path: Path) -> Database:
    if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        oldest = ".".join(map(str, _OLDEST_SQLITE))
        raise CatalogUnavailable(f"SQLite {sqlite3.sqlite_version} is too old; it takes {oldest} or later")
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=_READER_WAITS)
    connection.execute("PRAGMA query_only = 1")
    connection.execute(f"PRAGMA cache_size = -{_READER_KEEPS}")
    return Database(connection, execute_plugins=False)


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Wait for others that are here too: of two that turn a file to WAL at once, SQLite lets one fail."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextmanager
def _as_unavailable(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise CatalogUnavailable(f"{path}: {error}") from error
