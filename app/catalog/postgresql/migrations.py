"""The migrations of the PostgreSQL schema, oldest first. Applied to an empty database, they create a catalog.

Never edit a landed migration: a catalog that it created would count as current without the change. A test compares the
statements with digests. To change the schema, add a migration at the end.
"""

from collections.abc import Mapping
from typing import Any

from psycopg import Connection

from app.catalog.engine import SchemaState
from app.catalog.errors import CatalogOfLaterVersion, CatalogUnavailable
from app.catalog.postgresql.migration_1 import CATALOG
from app.catalog.postgresql.schema import NO_SCHEMA, SCHEMA_OID
from app.resources import version

_LOCK = 0x636F6D707574652D  # "compute-": the key of the advisory lock of migrations

_FILTERS = ("server", "name", "status_type", "min_ram", "min_disk")
# The old indexes are dropped last, because dropping them blocks readers until the end of the migration.
_COVERING_INDEXES = (
    """
    CREATE INDEX covering_server ON image_index (audience, deleted, server_hash, created, sort_key)
    INCLUDE (name_hash, status_type, min_ram, min_disk, changed) WHERE server_hash IS NOT NULL
    """,
    """
    CREATE INDEX covering_name ON image_index (audience, deleted, name_hash, created, sort_key)
    INCLUDE (status_type, min_ram, min_disk, changed)
    """,
    """
    CREATE INDEX covering_status_type ON image_index (audience, deleted, status_type, created, sort_key)
    INCLUDE (min_ram, min_disk, changed)
    """,
    """
    CREATE INDEX covering_min_ram ON image_index (audience, deleted, min_ram, created, sort_key)
    INCLUDE (min_disk, status_type, changed) WHERE min_ram <> 0
    """,
    """
    CREATE INDEX covering_min_disk ON image_index (audience, deleted, min_disk, created, sort_key)
    INCLUDE (min_ram, status_type, changed) WHERE min_disk <> 0
    """,
    *(f"DROP INDEX image_index_by_{name}" for name in _FILTERS),
    *(f"ALTER INDEX covering_{name} RENAME TO image_index_by_{name}" for name in _FILTERS),
)

MIGRATIONS: Mapping[str, tuple[str, ...]] = {
    "1: catalog": CATALOG,
    "2: covering indexes": _COVERING_INDEXES,
}

# Later versions must not change this table: earlier ones read it to name the version that migrated the catalog.
_CREATE_MIGRATIONS = "CREATE TABLE migrations (name text PRIMARY KEY, version text NOT NULL)"
_RECORD = "INSERT INTO migrations VALUES (%s, %s)"
# Not to_regclass: it would not see tables that another process created while this one waited for the lock, because it
# uses a cache that only locking a relation refreshes.
_HAS_CATALOG = """
SELECT count(*) = 2 FROM pg_class WHERE relname IN ('migrations', 'image_index') AND pg_table_is_visible(oid)
"""
# Without those of extensions, such as the views of pg_stat_statements.
_OTHER_TABLES = f"""
SELECT 1 FROM pg_class WHERE relnamespace = {SCHEMA_OID} AND relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT EXISTS (
    SELECT FROM pg_depend WHERE classid = 'pg_class'::regclass AND objid = pg_class.oid AND deptype = 'e'
) LIMIT 1
"""  # noqa: S608 no user input
_LAST = "SELECT version FROM migrations ORDER BY split_part(name, ':', 1)::integer DESC LIMIT 1"

_Connection = Connection[tuple[Any, ...]]


def migrate(connection: _Connection, migrations: Mapping[str, tuple[str, ...]] = MIGRATIONS) -> SchemaState:
    """Apply the pending migrations within the caller's transaction. Return what the database contained before.

    Concurrent processes migrate one after the other. Raises psycopg.Error.
    """
    if applied_migrations(connection) == migrations.keys():
        return SchemaState.CURRENT
    connection.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
    applied = applied_migrations(connection)
    if applied == migrations.keys():  # another process applied them
        return SchemaState.CURRENT
    if not applied:
        connection.execute(_CREATE_MIGRATIONS)
    for name, statements in migrations.items():
        if name not in applied:
            for statement in statements:
                connection.execute(statement.encode())
            connection.execute(_RECORD, [name, version()])
    return SchemaState.OUTDATED if applied else SchemaState.EMPTY


def read_state(connection: _Connection, name: str) -> SchemaState:
    """Return what the database contains, without changing it. `name` is that of the catalog in messages.

    Raises CatalogUnavailable for a database of another application, CatalogOfLaterVersion and psycopg.Error.
    """
    applied = applied_migrations(connection)
    if not applied and connection.execute("SELECT current_schema()").fetchone() == (None,):
        raise CatalogUnavailable(f"{name}: {NO_SCHEMA}")
    if not applied and connection.execute(_OTHER_TABLES.encode()).fetchone():
        raise CatalogUnavailable(f"{name} is a database of another application")
    if applied - MIGRATIONS.keys():
        raise CatalogOfLaterVersion(name, migrated_by(connection), version())
    if not applied:
        return SchemaState.EMPTY
    return SchemaState.CURRENT if applied == MIGRATIONS.keys() else SchemaState.OUTDATED


def applied_migrations(connection: _Connection) -> set[str]:
    """Return the names of the migrations that were applied to the database."""
    if connection.execute(_HAS_CATALOG).fetchone() != (True,):
        return set()
    return {name for (name,) in connection.execute("SELECT name FROM migrations")}


def migrated_by(connection: _Connection) -> str | None:
    """Return the version of compute-images that applied the last migration; None if there is no catalog."""
    row = connection.execute(_LAST).fetchone() if applied_migrations(connection) else None
    return str(row[0]) if row else None
