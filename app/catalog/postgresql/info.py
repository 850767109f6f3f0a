"""The size and the migrations of a catalog's database, and the sessions that use it."""

from app.catalog.inspection import CatalogUser, DatabaseInfo
from app.catalog.postgresql.database import APPLICATION_NAME, Connection
from app.catalog.postgresql.migrations import MIGRATIONS, applied_migrations, migrated_by
from app.catalog.postgresql.schema import SCHEMA_OID
from app.catalog.postgresql.sync_status import LOCK_NUMBER

_SIZE = f"""
SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint FROM pg_class
WHERE relnamespace = {SCHEMA_OID} AND relkind = 'r'
"""  # noqa: S608 no user input
# A role that is not a member of pg_read_all_stats sees neither the types and addresses nor the transactions of other
# roles' sessions.
_USERS = f"""
SELECT pid, application_name, backend_xid IS NOT NULL, EXISTS (
    SELECT FROM pg_locks
    WHERE locktype = 'advisory' AND granted AND pg_locks.pid = pg_stat_activity.pid AND database = datid
      AND classid = %s AND objid = {SCHEMA_OID}
), CASE WHEN backend_type IS NULL THEN 'unknown host' ELSE host(client_addr) END
FROM pg_stat_activity
WHERE datname = current_database() AND application_name = %s AND pid <> pg_backend_pid()
ORDER BY client_addr, pid
"""  # noqa: S608 no user input


def read_info(connection: Connection) -> DatabaseInfo:
    """Return the size of the tables and indexes, and the last migration of a catalog, which has to exist."""
    (size,) = connection.execute(_SIZE.encode()).fetchone() or (0,)
    last = [name for name in MIGRATIONS if name in applied_migrations(connection)][-1]
    return DatabaseInfo(size, last, migrated_by(connection))


def find_users(connection: Connection) -> list[CatalogUser]:
    """Return the sessions of all machines except this one, each with the id of its process on the server."""
    return [CatalogUser(*row) for row in connection.execute(_USERS.encode(), [LOCK_NUMBER, APPLICATION_NAME])]
