"""The status of the mirror's syncs, in a row that does not change the version; and the lock of the mirror."""

from psycopg.errors import UndefinedTable

from app.catalog.models import SyncStatus
from app.catalog.postgresql.database import Connection
from app.catalog.sync_status import dump_sync_status, parse_sync_status

# The first half of the key of the mirror's advisory lock. The second half is the OID of the catalog's schema.
LOCK_NUMBER = 1768776039
_LOCK = "SELECT pg_try_advisory_lock(%s, current_schema()::regnamespace::oid::bigint::integer)"
_READ = "SELECT document FROM sync_status"
_WRITE = """
INSERT INTO sync_status (document) VALUES (%s) ON CONFLICT (is_only) DO UPDATE SET document = excluded.document
"""


def read_sync_status(connection: Connection) -> SyncStatus:
    """Return the stored status; an empty one if there is none, or if it is damaged. Raises psycopg.Error."""
    try:
        row = connection.execute(_READ).fetchone()
    except UndefinedTable:  # there is no catalog yet
        row = None
    return parse_sync_status(row[0]) if row else SyncStatus()


def write_sync_status(connection: Connection, status: SyncStatus) -> None:
    """Replace the stored status. Raises psycopg.Error."""
    connection.execute(_WRITE, [dump_sync_status(status).decode()])


def try_lock(connection: Connection) -> bool:
    """Take the lock of the catalog's mirror until the session ends. Return False if another session holds it."""
    return connection.execute(_LOCK, [LOCK_NUMBER]).fetchone() == (True,)
