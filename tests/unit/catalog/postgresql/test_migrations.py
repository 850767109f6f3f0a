"""Migrations of the PostgreSQL schema: of an empty database, of earlier catalogs, and by several processes at once."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from app.catalog.engine import SchemaState
from app.catalog.engines import open_catalog
from app.catalog.errors import CatalogOfLaterVersion, CatalogUnavailable
from app.catalog.postgresql.database import Connection, connect
from app.catalog.postgresql.migrations import (
    MIGRATIONS,
    applied_migrations,
    migrate,
    migrated_by,
    read_state,
)
from app.catalog.postgresql.schema import VERSIONED_TABLES
from app.catalog.postgresql.url import parse_url
from app.catalog.postgresql.writer import lock_catalog
from app.catalog.transfer import ensure_catalog
from app.resources import version
from tests.integration.server.service import until

pytestmark = pytest.mark.external

LANDED = {
    "1: catalog": "abd5f3f93bed3162d3a0877fcdbcbd23907fb3a9e8444f246605d53d4010c972",
    "2: covering indexes": "5529e0d92da1a665e22c57fdf441f059e0e282f2e6a33fe6536230d3ffee0ead",
}

LATER = {**MIGRATIONS, "9: later": ("ALTER TABLE images ADD COLUMN later text",)}

BLOCKED = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
# Columns, indexes and triggers, as PostgreSQL describes them.
SCHEMA = """
SELECT attrelid::regclass::text, attname::text,
       concat_ws(' ', atttypid::regtype, attnotnull, attcollation, attstattarget)
FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
WHERE relnamespace = 'public'::regnamespace AND attnum > 0 AND NOT attisdropped
UNION ALL SELECT tablename::text, indexname::text, indexdef FROM pg_indexes WHERE schemaname = 'public'
UNION ALL SELECT tgrelid::regclass::text, tgname::text, pg_get_triggerdef(oid) FROM pg_trigger
UNION ALL SELECT conrelid::regclass::text, conname::text, pg_get_constraintdef(oid)
FROM pg_constraint WHERE conrelid > 0
ORDER BY 1, 2, 3
"""


def test_landed_migrations_are_never_edited() -> None:
    """Compare digests of the statements. If one differs, restore the migration, and add a new one."""
    assert {
        name: hashlib.sha256("\0".join(statements).encode()).hexdigest() for name, statements in MIGRATIONS.items()
    } == LANDED


@pytest.mark.parametrize("statement", ["SELECT 1", "CREATE EXTENSION pg_buffercache"])
def test_empty_database_becomes_a_catalog(connection: Connection, statement: str) -> None:
    connection.execute(statement.encode())
    assert read_state(connection, "name") is SchemaState.EMPTY
    assert migrated_by(connection) is None
    assert [migrate(connection), migrate(connection)] == [SchemaState.EMPTY, SchemaState.CURRENT]
    assert read_state(connection, "name") is SchemaState.CURRENT
    assert migrated_by(connection) == version()


@pytest.mark.parametrize("number", range(1, len(LATER)))
def test_each_earlier_catalog_is_upgraded(url: str, connection: Connection, number: int) -> None:
    migrate(connection, dict(list(LATER.items())[:number]))
    before = connection.execute("SELECT version FROM catalog").fetchone()
    assert migrate(connection, LATER) is SchemaState.OUTDATED
    assert applied_migrations(connection) == LATER.keys()
    assert connection.execute("SELECT version FROM catalog").fetchone() == before
    upgraded = connection.execute(SCHEMA).fetchall()
    connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    migrate(connection, LATER)
    assert upgraded == connection.execute(SCHEMA).fetchall()


def test_upgrade_waits_for_a_writer_of_an_earlier_version(url: str, connection: Connection) -> None:
    migrate(connection, dict(list(MIGRATIONS.items())[:1]))
    with ThreadPoolExecutor() as threads, connect(parse_url(url)) as writer:
        with writer.transaction():
            lock_catalog(writer)
            upgrade = threads.submit(ensure_catalog, open_catalog(url), list, tombstone_days=30)
            until(lambda: connection.execute(BLOCKED).fetchall() != [])
            writer.execute("DELETE FROM image_index")
        assert upgrade.result() == 0
    assert read_state(connection, "name") is SchemaState.CURRENT


def test_migrations_are_applied_once_by_processes_that_start_at_the_same_time(url: str) -> None:
    barrier = Barrier(4)

    def start(_: int) -> SchemaState:
        with connect(parse_url(url)) as connection, connection.transaction():
            assert applied_migrations(connection) == set()
            barrier.wait()
            return migrate(connection)

    with ThreadPoolExecutor(4) as threads:
        states = list(threads.map(start, range(4)))
    assert sorted(states, key=lambda state: state.name) == [SchemaState.CURRENT] * 3 + [SchemaState.EMPTY]


def test_failed_migration_changes_nothing(connection: Connection) -> None:
    with pytest.raises(Exception, match="no_such_table"), connection.transaction():
        migrate(connection, {**MIGRATIONS, "9: later": ("DROP TABLE no_such_table",)})
    assert read_state(connection, "name") is SchemaState.EMPTY


@pytest.mark.parametrize("table", VERSIONED_TABLES)
def test_version_changes_in_sessions_that_do_not_execute_ordinary_triggers(connection: Connection, table: str) -> None:
    migrate(connection)
    before = connection.execute("SELECT version FROM catalog").fetchone()
    connection.execute(f"SET session_replication_role = replica; TRUNCATE {table}".encode())
    assert connection.execute("SELECT version FROM catalog").fetchone() != before


def test_catalog_of_a_later_version_is_rejected_with_that_version(connection: Connection) -> None:
    migrate(connection, LATER)
    connection.execute("UPDATE migrations SET version = '9.8.7' WHERE name = '9: later'")
    with pytest.raises(CatalogOfLaterVersion, match=r"^name was migrated by a later version .* \(9\.8\.7\)"):
        read_state(connection, "name")


@pytest.mark.parametrize(
    "table",
    ["CREATE TABLE other ()", "CREATE TABLE migrations (id serial, migration text)", "CREATE VIEW images AS SELECT"],
)
def test_database_of_another_application_is_rejected(connection: Connection, table: str) -> None:
    connection.execute(table.encode())
    with pytest.raises(CatalogUnavailable, match=r"^name is a database of another application$"):
        read_state(connection, "name")
