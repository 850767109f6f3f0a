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
_READER_KEEPS, _WRITER_KEEPS = 16_000, 64_000
_READER_WAITS, _WRITER_WAITS = 5.0, 60.0  # seconds, for another process that holds the file

EVERYONE = 0  # the audience of public images
_EVERYONE = "*"  # in the place of a tenant

# What is known of an image, once.
_IMAGES = """
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
    server TEXT GENERATED ALWAYS AS (nullif(metadata ->> '$.instance_uuid', '')) STORED  -- every page shows it
) STRICT
"""

# How it is listed: once for each audience, which is everyone, its owner, or a member that it is shared with. A listing
# is no more than the view `visible` says of its image: whoever writes images brings it up to date.
#
# An audience has two lists, one of images and one of tombstones, so that neither stands in the other's way. A list's
# order is the answer's: newest first, ties as they came; `rank` stands in for the position because both have to run
# the same way for a page to be found by key. An index that goes on in this order finds what a filter wants sorted.
# Numbers stand in for tenants, kinds and times because they are short: an import into a large catalog takes as long as
# the pages that it touches.
_LISTINGS = (
    """
    ALTER TABLE images ADD COLUMN type TEXT GENERATED ALWAYS AS (
        CASE
            WHEN metadata ->> '$.image_type' IN ('snapshot', 'backup') THEN metadata ->> '$.image_type'
            WHEN server IS NOT NULL THEN 'SERVER'
            ELSE 'BASE'
        END
    )
    """,
    f"""
    ALTER TABLE images ADD COLUMN tenants TEXT GENERATED ALWAYS AS (
        CASE visibility
            WHEN 'public' THEN json_array('{_EVERYONE}')
            WHEN 'shared' THEN json_insert(members, '$[#]', owner)
            ELSE json_array(owner)
        END
    )
    """,
    "CREATE TABLE audiences (id INTEGER PRIMARY KEY, tenant TEXT NOT NULL UNIQUE) STRICT",
    f"INSERT INTO audiences VALUES ({EVERYONE}, '{_EVERYONE}')",  # noqa: S608 ours
    """
    CREATE TABLE kinds (
        id INTEGER PRIMARY KEY,
        status TEXT NOT NULL,
        type TEXT NOT NULL,
        UNIQUE (status, type)
    ) STRICT
    """,
    """
    CREATE TABLE listings (
        audience INTEGER NOT NULL,
        deleted INTEGER NOT NULL,  -- 1: in the list of tombstones
        created INTEGER NOT NULL,  -- times are seconds since 1970
        rank INTEGER NOT NULL,
        updated INTEGER NOT NULL,
        kind INTEGER NOT NULL,
        name TEXT,
        server TEXT,
        PRIMARY KEY (audience, deleted, created, rank)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE VIEW visible AS
    SELECT
        images.id, audiences.id AS audience, status = 'DELETED' AS deleted, unixepoch(created) AS created,
        -position AS rank, unixepoch(updated) AS updated, kinds.id AS kind, name, server
    FROM images
    CROSS JOIN kinds USING (status, type)
    CROSS JOIN json_each(tenants) AS each
    CROSS JOIN audiences ON tenant = each.value
    """,
    "CREATE INDEX listings_by_kind ON listings (audience, kind, created, rank)",
    "CREATE INDEX listings_by_name ON listings (audience, deleted, name, created, rank, kind)",
    "CREATE INDEX listings_by_server ON listings (audience, deleted, server, created, rank) WHERE server IS NOT NULL",
    "CREATE INDEX listings_by_change ON listings (audience, deleted, updated)",
    # Images that are there already, in a catalog of an earlier version.
    """
    INSERT INTO audiences (tenant)
    SELECT DISTINCT each.value FROM images CROSS JOIN json_each(tenants) AS each WHERE each.value NOT NULL
    ON CONFLICT DO NOTHING
    """,
    "INSERT INTO kinds (status, type) SELECT DISTINCT status, type FROM images",
    """
    INSERT INTO listings
    SELECT audience, deleted, created, rank, updated, kind, name, server FROM visible WHERE true
    ON CONFLICT DO NOTHING
    """,
)

# How version 1 listed them.
_LISTINGS_OF_1 = (
    "DROP VIEW IF EXISTS visible",
    "DROP TABLE IF EXISTS listings",
    "DROP TABLE IF EXISTS audiences",
)
_COLUMNS_OF_1 = ("listed_for", "origin", "image_type")

_migrations = Migrations("compute-images")


@_migrations(name="1: images")
def _create_images(db: Database) -> None:
    db.execute(_IMAGES)


@_migrations(name="2: listings")
def _create_listings(db: Database) -> None:
    columns = {row[1] for row in db.execute("PRAGMA table_xinfo(images)")}
    dropped = [f"ALTER TABLE images DROP COLUMN {column}" for column in _COLUMNS_OF_1 if column in columns]
    for statement in (*_LISTINGS_OF_1, *dropped, *_LISTINGS):
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
