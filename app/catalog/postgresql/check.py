"""The check of a catalog in a PostgreSQL database."""

from collections.abc import Iterator

from app.catalog.check import compare_derived
from app.catalog.engine import SchemaState
from app.catalog.inspection import Finding
from app.catalog.postgresql.database import Connection
from app.catalog.postgresql.schema import INDEX_COLUMNS, SCHEMA_OID, VERSIONED_TABLES, index_entries

_INVALID_INDEXES = f"""
SELECT indexrelid::regclass::text FROM pg_index JOIN pg_class ON pg_class.oid = indrelid
WHERE relnamespace = {SCHEMA_OID} AND NOT (indisvalid AND indisready)
"""  # noqa: S608 no user input
# Without its trigger, changes of a table do not change the version, and services continue to send stored responses.
_WITHOUT_TRIGGER = """
SELECT name FROM unnest(%s::text[]) AS name WHERE NOT EXISTS (
    SELECT FROM pg_trigger WHERE tgrelid = name::regclass AND tgname = 'change_version' AND tgenabled = 'A'
)
"""
# A change of images also updates the table catalog, through the triggers, and needs a temporary table.
_READ_ONLY_TABLES = """
SELECT name FROM unnest(%s::text[]) AS name
WHERE NOT (has_table_privilege(name, 'INSERT') AND has_table_privilege(name, 'UPDATE')
           AND has_table_privilege(name, 'DELETE'))
UNION ALL SELECT 'catalog' WHERE NOT has_table_privilege('catalog', 'UPDATE')
UNION ALL SELECT 'temporary tables' WHERE NOT has_database_privilege(current_database(), 'TEMPORARY')
"""
_PUBLIC_TABLES = f"""
SELECT relname FROM pg_class, aclexplode(relacl)
WHERE relnamespace = {SCHEMA_OID} AND relkind = 'r' AND grantee = 0
GROUP BY relname ORDER BY relname
"""  # noqa: S608 no user input
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
# The tables that are derived from the images: queries of the expected rows, and of the stored ones.
_DERIVED = {"the index of the lists": _ENTRIES, "the table of members": _MEMBERS}


def find_problems(connection: Connection, name: str, state: SchemaState) -> Iterator[Finding]:
    """Yield the problems of a catalog's tables. `name` is that of the catalog in messages. Raises psycopg.Error."""
    ((encoding,),) = connection.execute("SELECT current_setting('server_encoding')")
    if encoding != "UTF8":
        problem = f"{name} has the encoding {encoding}, which cannot represent all names"
        yield Finding(problem, "restore a backup into a database with the encoding UTF8")
    for (index,) in connection.execute(_INVALID_INDEXES.encode()):
        yield Finding(f"{name}: the index {index} is invalid", f"REINDEX INDEX {index}")
    if state is SchemaState.OUTDATED:
        yield Finding(f"{name} holds {state.value}", "back it up before the upgrade", is_warning=True)
        return
    yield from _version(connection, name)
    yield from _derived_tables(connection, name)
    yield from _permissions(connection, name)


def _version(connection: Connection, name: str) -> Iterator[Finding]:
    if connection.execute("SELECT FROM catalog").fetchone() is None:
        problem = f"{name}: the table catalog is empty, so there is no version, and writers do not wait for each other"
        yield Finding(problem, "INSERT INTO catalog DEFAULT VALUES")
    if tables := _names(connection, _WITHOUT_TRIGGER, [*VERSIONED_TABLES]):
        problem = f"{name}: changes of {tables} do not change the version, so services may send outdated responses"
        advice = "ALTER TABLE … ENABLE ALWAYS TRIGGER change_version, or restore a backup into an empty database"
        yield Finding(problem, advice)


def _derived_tables(connection: Connection, name: str) -> Iterator[Finding]:
    for derived, (expected, stored) in _DERIVED.items():
        missing, surplus = _count_surplus(connection, expected, stored), _count_surplus(connection, stored, expected)
        yield from compare_derived(f"{name}: {derived}", missing, surplus)


def _permissions(connection: Connection, name: str) -> Iterator[Finding]:
    if tables := _names(connection, _READ_ONLY_TABLES, [*VERSIONED_TABLES, "sync_status"]):
        problem = f"{name}: the role of the URL has no write privileges for {tables}, so changes can fail"
        advice = 'grant it the privileges of images_service (README, "Several machines")'
        yield Finding(problem, advice, is_warning=True)
    if tables := _names(connection, _PUBLIC_TABLES):
        problem = f"{name}: every role of the server can access {tables}"
        yield Finding(problem, f"REVOKE ALL ON {tables} FROM PUBLIC", is_warning=True)


def _names(connection: Connection, query: str, *parameters: list[str]) -> str:
    return ", ".join(name for (name,) in connection.execute(query.encode(), parameters))


def _count_surplus(connection: Connection, query: str, other: str) -> int:
    """Return how many distinct rows of a query are not among those of another."""
    query = f"SELECT count(*) FROM (({query}) EXCEPT ({other})) AS surplus"  # noqa: S608 no user input
    ((count,),) = connection.execute(query.encode())
    return int(count)
