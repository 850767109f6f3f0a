"""The check of a catalog in a PostgreSQL database."""

from collections.abc import Iterator

from app.catalog.engine import SchemaState
from app.catalog.models import Finding
from app.catalog.postgresql.database import Connection
from app.catalog.postgresql.schema import INDEX_COLUMNS, index_entries

_REBUILD = "back up the catalog with `compute-images backup`, and restore it into an empty database"

_INVALID_INDEXES = """
SELECT indexrelid::regclass::text FROM pg_index JOIN pg_class ON pg_class.oid = indrelid
WHERE relnamespace = current_schema()::regnamespace AND NOT (indisvalid AND indisready)
"""
# Without its trigger, a change would not change the version, and services would go on using stored responses.
_WITHOUT_TRIGGER = """
SELECT relname FROM pg_class
WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r'
  AND relname NOT IN ('catalog', 'sync_status', 'migrations') AND NOT EXISTS (
    SELECT FROM pg_trigger WHERE tgrelid = pg_class.oid AND tgname = 'change_version' AND tgenabled IN ('O', 'A')
)
ORDER BY relname
"""
_PUBLIC_TABLES = """
SELECT relname FROM pg_class, aclexplode(relacl)
WHERE relnamespace = current_schema()::regnamespace AND relkind = 'r' AND grantee = 0
GROUP BY relname ORDER BY relname
"""
_ENTRIES = (
    f"SELECT {INDEX_COLUMNS} FROM ({index_entries('images')}) AS entries",  # noqa: S608 no user input
    f"SELECT {INDEX_COLUMNS} FROM image_index",  # noqa: S608 no user input
)
_MEMBERS = (
    """
    SELECT sequence, json_array_elements_text(members::json) FROM images WHERE visibility = 'shared'
    UNION
    SELECT sequence, json_array_elements_text(pending_members::json) FROM images WHERE visibility = 'shared'
    """,
    "SELECT sequence, project_id FROM image_members",
)
# What is derived from the images: the rows that there should be, and those that there are.
_DERIVED = {"the index of the lists": _ENTRIES, "the table of members": _MEMBERS}


def find_problems(connection: Connection, name: str, state: SchemaState) -> Iterator[Finding]:
    """Yield what is wrong with the tables of a catalog, given what the database contains. Raises psycopg.Error."""
    ((encoding,),) = connection.execute("SELECT current_setting('server_encoding')")
    if encoding != "UTF8":
        problem = f"{name} has the encoding {encoding}, which lacks characters of some names"
        yield Finding(problem, "restore a backup into a database with the encoding UTF8")
    for (index,) in connection.execute(_INVALID_INDEXES):
        yield Finding(f"{name}: the index {index} is invalid", f"REINDEX INDEX {index}")
    if state is SchemaState.OUTDATED:
        yield Finding(f"{name} holds {state.value}", "back it up before the upgrade", is_warning=True)
        return
    if tables := _names(connection, _WITHOUT_TRIGGER):
        problem = f"{name}: changes of {tables} do not change the version, so services respond with earlier states"
        yield Finding(
            problem, "ALTER TABLE … ENABLE TRIGGER change_version, or restore a backup into an empty database"
        )
    for derived, (expected, stored) in _DERIVED.items():
        missing, surplus = _count_surplus(connection, expected, stored), _count_surplus(connection, stored, expected)
        if missing or surplus:
            problem = f"{name}: {derived} lacks {missing} entries, and has {surplus} that belong to no image"
            yield Finding(problem, _REBUILD)
    if tables := _names(connection, _PUBLIC_TABLES):
        problem = f"{name}: every role of the server can access {tables}"
        yield Finding(problem, f"REVOKE ALL ON {tables} FROM PUBLIC", is_warning=True)


def _names(connection: Connection, query: str) -> str:
    return ", ".join(name for (name,) in connection.execute(query.encode()))


def _count_surplus(connection: Connection, query: str, other: str) -> int:
    """Return how many rows of a query are not among those of another."""
    query = f"SELECT count(*) FROM (({query}) EXCEPT ({other})) AS surplus"  # noqa: S608 no user input
    ((count,),) = connection.execute(query.encode())
    return int(count)
