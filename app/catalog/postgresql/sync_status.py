"""The status of the mirror's syncs, in a row that does not change the version; and the lock of the mirror."""

from psycopg.errors import InvalidSchemaName, UndefinedTable

from app.catalog.models import SyncStatus
from app.catalog.postgresql.database import Connection
from app.catalog.postgresql.schema import NO_SCHEMA, SCHEMA_OID
from app.catalog.sync_status import dump_sync_status, parse_sync_status

LOCK_NUMBER = 0x696D6167  # "imag": the upper half of the mirror's lock number. The lower half is the OID of the schema
_LOCK = f"SELECT pg_try_advisory_lock(%s::bigint << 32 | {SCHEMA_OID}::bigint)"
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


def unlock(connection: Connection) -> None:
    """Release the lock of the catalog's mirror now. The server does so only once it notices that the session ended.

    Raises psycopg.Error.
    """
    connection.execute("SELECT pg_advisory_unlock_all()")


def try_lock(connection: Connection) -> bool:
    """Take the lock of the catalog's mirror until the session ends. Return False if another session holds it.

    Raises psycopg.Error.
    """
    ((is_locked,),) = connection.execute(_LOCK.encode(), [LOCK_NUMBER])
    if is_locked is None:
        raise InvalidSchemaName(NO_SCHEMA)
    return bool(is_locked)
