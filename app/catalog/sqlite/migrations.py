"""The migrations of the SQLite schema, oldest first: applied to an empty file, they create a catalog.

Never edit a landed migration: a catalog that it created would count as current without the change. A test compares the
statements with digests. To change the schema, add a migration at the end.
"""

from contextlib import closing
from functools import cache

from sqlite_utils import Database
from sqlite_utils.migrations import Migrations

from app.catalog.engine import SchemaState
from app.catalog.sqlite.migrations_1_to_5 import (
    IMAGES,
    LISTINGS,
    OBSOLETE_OBJECTS,
    REBUILD_IMAGES,
    TOKENS,
    UPSTREAM,
)
from app.resources import version

MIGRATIONS = Migrations("compute-images")

# Migrations 2 and 5 were edited after they had landed. A catalog that counts as current may have the tables of their
# first versions:
# - 2 created `listings` without `min_disk` and `min_ram`. Migration 6 rebuilds this table anyway.
# - 5 created `upstream` with a URL only, stored milliseconds in `learned`, and had no `turn`. It did not record whether
#   an administrator's credentials made the replica. Assume so: a mirror with other credentials then stops with a
#   message. Otherwise it would delete the images that it cannot see.
_REPAIR_UPSTREAM = (
    "ALTER TABLE upstream ADD COLUMN is_admin INTEGER NOT NULL DEFAULT 1",
    "ALTER TABLE upstream ADD COLUMN good REAL NOT NULL DEFAULT 0",
    "ALTER TABLE upstream ADD COLUMN turn INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE images ADD COLUMN turn INTEGER",
    "UPDATE images SET learned = learned / 1000 WHERE learned IS NOT NULL",
)
_STANDARD_NAMES = (
    "DROP VIEW visible",
    "DROP TABLE listings",
    "ALTER TABLE images RENAME COLUMN position TO sequence",
    "ALTER TABLE images RENAME COLUMN tenants TO projects",
    "ALTER TABLE images RENAME COLUMN learned TO synced_at",
    "ALTER TABLE images RENAME COLUMN turn TO revision",
    "ALTER TABLE audiences RENAME COLUMN tenant TO project_id",
    "ALTER TABLE kinds RENAME TO status_types",
    "ALTER TABLE tokens RENAME COLUMN tenant TO project_id",
    "ALTER TABLE upstream RENAME TO earlier",
    """
    CREATE TABLE upstream (  -- one row in a replica, none in other catalogs
        url TEXT NOT NULL,
        is_admin INTEGER NOT NULL,  -- whether it has all images that an administrator sees
        synced_at REAL NOT NULL,  -- start of the last sync that changed something, in seconds since 1970
        revision INTEGER NOT NULL  -- counts the changes from upstream
    ) STRICT
    """,
    "INSERT INTO upstream SELECT url, is_admin, good, turn FROM earlier",
    "DROP TABLE earlier",
    """
    CREATE TABLE image_index (
        audience INTEGER NOT NULL,
        deleted INTEGER NOT NULL,  -- 1: tombstones
        created INTEGER NOT NULL,  -- times are in seconds since 1970
        sort_key INTEGER NOT NULL,  -- the negated sequence
        changed INTEGER NOT NULL,
        status_type INTEGER NOT NULL,
        min_disk INTEGER NOT NULL,
        min_ram INTEGER NOT NULL,
        name TEXT,
        server TEXT,
        PRIMARY KEY (audience, deleted, created, sort_key)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE VIEW image_index_entries AS
    SELECT
        images.id, audiences.id AS audience, status = 'DELETED' AS deleted, unixepoch(created) AS created,
        -sequence AS sort_key, max(unixepoch(updated), coalesce(synced_at + 10, 0)) AS changed,
        status_types.id AS status_type, min_disk, min_ram, name, server
    FROM images
    CROSS JOIN status_types USING (status, type)
    CROSS JOIN json_each(projects) AS each
    CROSS JOIN audiences ON project_id = each.value
    """,
    """
    INSERT INTO image_index
    SELECT audience, deleted, created, sort_key, changed, status_type, min_disk, min_ram, name, server
    FROM image_index_entries
    WHERE true  -- or ON would belong to the join
    ORDER BY audience, deleted, created, sort_key
    ON CONFLICT DO NOTHING  -- an owner may be a member, too
    """,
    "CREATE INDEX image_index_by_status_type ON image_index (audience, status_type, created, sort_key)",
    "CREATE INDEX image_index_by_name ON image_index (audience, deleted, name, created, sort_key, status_type)",
    """
    CREATE INDEX image_index_by_server ON image_index (audience, deleted, server, created, sort_key)
    WHERE server IS NOT NULL
    """,
    """
    CREATE INDEX image_index_by_min_disk ON image_index (audience, deleted, min_disk, created, sort_key)
    WHERE min_disk <> 0
    """,
    """
    CREATE INDEX image_index_by_min_ram ON image_index (audience, deleted, min_ram, created, sort_key)
    WHERE min_ram <> 0
    """,
    "CREATE INDEX image_index_by_change ON image_index (audience, deleted, changed)",
)
_UNLISTED_IMAGES = (
    "DROP VIEW image_index_entries",
    "ALTER TABLE images ADD COLUMN hidden INTEGER NOT NULL DEFAULT 0",
    """
    ALTER TABLE images ADD COLUMN pending_members TEXT NOT NULL DEFAULT '[]'
    CHECK (json_type(pending_members) = 'array')
    """,
    """
    CREATE TABLE image_members (
        sequence INTEGER NOT NULL,
        project_id TEXT NOT NULL,
        PRIMARY KEY (sequence, project_id)
    ) STRICT, WITHOUT ROWID
    """,
    """
    INSERT INTO image_members
    SELECT sequence, each.value FROM images CROSS JOIN json_each(members) AS each WHERE visibility = 'shared'
    """,
    """
    CREATE VIEW image_index_entries AS
    SELECT
        images.id, audiences.id AS audience, status = 'DELETED' AS deleted, unixepoch(created) AS created,
        -sequence AS sort_key, max(unixepoch(updated), coalesce(synced_at + 10, 0)) AS changed,
        status_types.id AS status_type, min_disk, min_ram, name, server
    FROM images
    CROSS JOIN status_types USING (status, type)
    CROSS JOIN json_each(projects) AS each
    CROSS JOIN audiences ON project_id = iif(visibility = 'public', '/', each.value)
    WHERE NOT hidden OR status = 'DELETED'
    """,
    "UPDATE audiences SET project_id = '/' WHERE id = 0",  # was '*', which can be the id of a project
)
# Every later version has to have this table: an earlier one reads it, to name the version that it cannot replace.
_MIGRATED_BY = "CREATE TABLE migrated_by (version TEXT NOT NULL) STRICT"
_COVERING_INDEXES = (
    *(f"DROP INDEX image_index_by_{column}" for column in ("server", "name", "status_type", "min_ram", "min_disk")),
    """
    CREATE INDEX image_index_by_server ON image_index (
        audience, deleted, server, created, sort_key, name, status_type, min_ram, min_disk, changed
    ) WHERE server IS NOT NULL
    """,
    """
    CREATE INDEX image_index_by_name ON image_index (
        audience, deleted, name, created, sort_key, status_type, min_ram, min_disk, changed
    )
    """,
    """
    CREATE INDEX image_index_by_status_type ON image_index (
        audience, status_type, created, sort_key, min_ram, min_disk, changed
    )
    """,
    """
    CREATE INDEX image_index_by_min_ram ON image_index (
        audience, deleted, min_ram, created, sort_key, min_disk, status_type, changed
    ) WHERE min_ram <> 0
    """,
    """
    CREATE INDEX image_index_by_min_disk ON image_index (
        audience, deleted, min_disk, created, sort_key, min_ram, status_type, changed
    ) WHERE min_disk <> 0
    """,
)


@MIGRATIONS(name="1: images")
def _create_images(db: Database) -> None:
    db.execute(IMAGES)


@MIGRATIONS(name="2: listings")
def _create_listings(db: Database) -> None:
    obsolete = [f"DROP {kind} {name}" for kind, name in db.execute(OBSOLETE_OBJECTS).fetchall()]
    _execute(db, *obsolete, *REBUILD_IMAGES, *LISTINGS)


@MIGRATIONS(name="3: tombstones made here")
def _date_tombstones(db: Database) -> None:
    db.execute("ALTER TABLE images ADD COLUMN deleted_at TEXT")
    db.execute("CREATE INDEX tombstones ON images (deleted_at) WHERE deleted_at IS NOT NULL")


@MIGRATIONS(name="4: tokens")
def _create_tokens(db: Database) -> None:
    db.execute(TOKENS)


@MIGRATIONS(name="5: upstream")
def _create_upstream(db: Database) -> None:
    _execute(db, *UPSTREAM)


@MIGRATIONS(name="6: standard names")
def _use_standard_names(db: Database) -> None:
    columns = {row[1] for row in db.execute("PRAGMA table_info(upstream)").fetchall()}
    _execute(db, *(() if "turn" in columns else _REPAIR_UPSTREAM), *_STANDARD_NAMES)


@MIGRATIONS(name="7: unlisted images")
def _add_unlisted_images(db: Database) -> None:
    _execute(db, *_UNLISTED_IMAGES)


@MIGRATIONS(name="8: migrated by")
def _add_migrated_by(db: Database) -> None:
    db.execute(_MIGRATED_BY)


@MIGRATIONS(name="9: covering indexes")
def _add_columns_to_indexes(db: Database) -> None:
    _execute(db, *_COVERING_INDEXES)


def migrate(db: Database) -> SchemaState:
    """Apply the pending migrations, and record this version. Return what the database contained before."""
    if not MIGRATIONS.pending(db):
        return SchemaState.CURRENT
    before = SchemaState.OUTDATED if MIGRATIONS.applied(db) else SchemaState.EMPTY
    MIGRATIONS.apply(db)
    db.execute("DELETE FROM migrated_by")
    db.execute("INSERT INTO migrated_by VALUES (?)", [version()])
    return before


def migrated_by(db: Database) -> str | None:
    """Return the version of compute-images that last migrated the catalog; None if it did not record its version."""
    row = db.execute("SELECT version FROM migrated_by").fetchone() if "migrated_by" in db.table_names() else None
    return row and str(row[0])


@cache
def migration_names() -> frozenset[str]:
    """Return the names of all migrations: all are pending for an empty database."""
    with closing(Database(memory=True, execute_plugins=False)) as empty:
        return frozenset(migration.name for migration in MIGRATIONS.pending(empty))


def _execute(db: Database, *statements: str) -> None:
    for statement in statements:
        db.execute(statement)
