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
_PAGE = 8192  # bytes: a large import, which touches most pages, is a seventh faster than with SQLite's 4096
_READER_WAITS, _WRITER_WAITS = 5.0, 60.0  # seconds, for another process that holds the file

EVERYONE = 0  # the audience of public images
_EVERYONE = "*"  # in the place of a tenant

# An image is kept once, and listed once for each audience that has it in its list: everyone, its owner, the members
# that it is shared with. What a list is filtered by stands in the listing, which is no more than the view `visible`
# says of its image: whoever writes images brings it up to date. Its key, and each index after the filter, is the order
# of the answer, newest first, ties as they came: `rank` stands in for the position because both have to run the same
# way for a page to be found by key. Numbers stand in for tenants and times because they are short: an import into a
# large catalog takes as long as the pages that it touches. Of two filters SQLite, which knows no numbers here, takes
# the index that was made last: those that find the fewest images come at the end.
_TABLES = (
    f"""
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
        server TEXT GENERATED ALWAYS AS (nullif(metadata ->> '$.instance_uuid', '')) STORED,  -- every page shows it
        image_type TEXT GENERATED ALWAYS AS (metadata ->> '$.image_type'),
        origin TEXT GENERATED ALWAYS AS (
            CASE WHEN server IS NOT NULL OR image_type IN ('snapshot', 'backup') THEN 'SERVER' ELSE 'BASE' END
        ),
        listed_for TEXT GENERATED ALWAYS AS (
            CASE visibility
                WHEN 'public' THEN json_array('{_EVERYONE}')
                WHEN 'shared' THEN json_insert(members, '$[#]', owner)
                ELSE json_array(owner)
            END
        )
    ) STRICT
    """,
    "CREATE TABLE audiences (id INTEGER PRIMARY KEY, tenant TEXT NOT NULL UNIQUE) STRICT",
    f"INSERT INTO audiences VALUES ({EVERYONE}, '{_EVERYONE}')",  # noqa: S608 ours
    """
    CREATE TABLE listings (
        audience INTEGER NOT NULL,
        created INTEGER NOT NULL,  -- times are seconds since 1970
        rank INTEGER NOT NULL,
        updated INTEGER NOT NULL,
        name TEXT,
        status TEXT NOT NULL,
        server TEXT,
        image_type TEXT,
        origin TEXT NOT NULL,
        PRIMARY KEY (audience, created, rank)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE VIEW visible AS
    SELECT images.id, audiences.id AS audience, unixepoch(created) AS created, -position AS rank,
           unixepoch(updated) AS updated, name, status, server, image_type, origin
    FROM images CROSS JOIN json_each(listed_for) AS each CROSS JOIN audiences ON tenant = each.value
    """,
    "CREATE INDEX listings_by_status ON listings (audience, status, created, rank)",
    "CREATE INDEX listings_by_origin ON listings (audience, origin, created, rank)",
    "CREATE INDEX listings_by_type ON listings (audience, image_type, created, rank) WHERE image_type NOT NULL",
    "CREATE INDEX listings_by_name ON listings (audience, name, created, rank)",
    "CREATE INDEX listings_by_server ON listings (audience, server, created, rank) WHERE server IS NOT NULL",
    "CREATE INDEX listings_by_change ON listings (audience, updated)",
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
            db.execute(f"PRAGMA page_size = {_PAGE}")  # of a new file
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
