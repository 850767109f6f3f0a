"""The sessions of requests, commands and the mirror: broken connections, deadlines, locks and privileges."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from app.catalog.check import check_catalog
from app.catalog.engine import COMMAND_TIMEOUT
from app.catalog.engines import open_file
from app.catalog.errors import (
    CatalogBusy,
    CatalogConnectionLost,
    CatalogReadOnly,
    CatalogUnavailable,
    CommitUnknown,
    NotStarted,
    ReadLimitExceeded,
)
from app.catalog.executor import repeat_if_lost
from app.catalog.inspection import CatalogUser
from app.catalog.models import SyncStatus, Token
from app.catalog.postgresql.database import Connection
from app.catalog.postgresql.engine import PostgreSQLEngine
from app.errors import MirrorAlreadyRunning, MirrorLockLost
from tests.integration.server.service import until

TOKEN = Token("id", "project", False, "2020-01-01T00:00:00Z", None)
TERMINATE_OTHERS = """
SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
BLOCKED = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
TERMINATE_AT_COMMIT = """
CREATE FUNCTION terminate() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(10); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER terminate AFTER INSERT ON tokens DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW EXECUTE FUNCTION terminate()
"""


def open_engine(url: str, *, max_readers: int = 1) -> PostgreSQLEngine:
    return PostgreSQLEngine(url, open_file, max_readers=max_readers)


@pytest.fixture
def engine(url: str) -> Iterator[PostgreSQLEngine]:
    """Create a catalog, and serve requests from it, on one connection."""
    engine = open_engine(url)
    with engine.transaction(timeout=COMMAND_TIMEOUT):
        pass
    engine.connect()
    yield engine
    engine.close()


def add_token(engine: PostgreSQLEngine, *, timeout: float = 10) -> None:
    with engine.transaction(timeout=timeout) as transaction:
        transaction.add_token(TOKEN, b"hash")


def read_tokens(engine: PostgreSQLEngine) -> list[Token]:
    with engine.snapshot() as snapshot:
        return list(snapshot.tokens())


def backend(engine: PostgreSQLEngine) -> int:
    """Return the id of the server process that a read uses."""
    with engine._sessions.read() as connection:
        return connection.info.backend_pid


def test_reads_reuse_a_connection_and_replace_a_broken_one(engine: PostgreSQLEngine, connection: Connection) -> None:
    first = backend(engine)
    assert backend(engine) == first
    connection.execute(TERMINATE_OTHERS)
    assert backend(engine) != first
    assert read_tokens(engine) == []


def test_connections_of_an_earlier_generation_are_not_used(engine: PostgreSQLEngine) -> None:
    first = backend(engine)
    engine._sessions.pool.start_generation(1)
    second = backend(engine)
    assert second != first
    with engine._sessions.read():
        engine._sessions.pool.start_generation(2)
    assert backend(engine) not in {first, second}


def test_connection_that_breaks_during_a_read_is_reported(engine: PostgreSQLEngine, connection: Connection) -> None:
    with pytest.raises(CatalogConnectionLost), engine.snapshot() as snapshot:
        connection.execute(TERMINATE_OTHERS)
        snapshot.tokens()
    assert read_tokens(engine) == []


def test_connections_whose_prepared_statements_cannot_be_used_are_replaced(url: str, connection: Connection) -> None:
    engine = open_engine(url, max_readers=2)
    add_token(engine)
    engine.connect()
    for change in (b"ALTER TABLE tokens ALTER project_id TYPE varchar", b"DEALLOCATE ALL"):
        with engine.snapshot() as first, engine.snapshot() as second:
            assert list(first.tokens()) == list(second.tokens()) == [TOKEN]
        with engine._sessions.read() as pooled:
            (pooled if change.startswith(b"DEALLOCATE") else connection).execute(change)
        with pytest.raises(CatalogConnectionLost):
            read_tokens(engine)
        assert read_tokens(engine) == [TOKEN]
    engine.close()


def test_single_read_that_finds_its_connection_broken_is_repeated_on_a_new_one(
    engine: PostgreSQLEngine, connection: Connection
) -> None:
    def read() -> object:
        with engine.snapshot(is_single=True) as snapshot:
            return snapshot.find_token("id")

    assert read() is None
    connection.execute(TERMINATE_OTHERS)
    assert repeat_if_lost(read) is None


def test_single_read_is_not_followed_by_another(engine: PostgreSQLEngine) -> None:
    with engine.snapshot(is_single=True) as snapshot:
        snapshot.tokens()
        with pytest.raises(RuntimeError, match="opened for a single one"):
            snapshot.tokens()


def test_read_ends_at_its_deadline(engine: PostgreSQLEngine, connection: Connection) -> None:
    with connection.transaction(force_rollback=True):
        connection.execute("LOCK TABLE tokens IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(ReadLimitExceeded), engine.read_limits(0.2):
            read_tokens(engine)
        until(lambda: connection.execute(BLOCKED).fetchall() == [])  # the server has ended it, too
    assert read_tokens(engine) == []


def test_wait_for_a_connection_ends_at_the_deadline(engine: PostgreSQLEngine) -> None:
    reads, ends = Event(), Event()

    def occupy() -> None:
        with engine.snapshot():
            reads.set()
            ends.wait(10)

    with ThreadPoolExecutor(1) as pool:
        pool.submit(occupy)
        reads.wait(10)
        with pytest.raises(NotStarted), engine.read_limits(0.2):
            read_tokens(engine)
        ends.set()
    assert read_tokens(engine) == []


def test_connection_that_breaks_during_commit_leaves_the_outcome_unknown(
    engine: PostgreSQLEngine, connection: Connection
) -> None:
    connection.execute(TERMINATE_AT_COMMIT)
    with pytest.raises(CommitUnknown, match=f"^{engine.name}: the connection broke during COMMIT"):
        add_token(engine)


def test_connection_that_breaks_before_commit_changes_nothing(engine: PostgreSQLEngine, connection: Connection) -> None:
    with pytest.raises(CatalogUnavailable) as raised, engine.transaction(timeout=10) as transaction:
        transaction.add_token(TOKEN, b"hash")
        connection.execute(TERMINATE_OTHERS)
        transaction.tokens()
    assert type(raised.value) is CatalogUnavailable
    assert read_tokens(engine) == []


def test_transaction_waits_for_other_writers_until_its_timeout(
    engine: PostgreSQLEngine, connection: Connection
) -> None:
    with connection.transaction(force_rollback=True):
        connection.execute("SELECT FROM catalog FOR UPDATE")
        with pytest.raises(CatalogBusy):
            add_token(engine, timeout=0.1)
    add_token(engine)
    assert read_tokens(engine) == [TOKEN]


def test_writers_that_wait_leave_connections_for_reads(url: str, engine: PostgreSQLEngine) -> None:
    served = open_engine(url, max_readers=2)
    served.connect()
    with served.transaction(timeout=10), ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(add_token, served, timeout=0.2) for _ in range(2)]
        assert read_tokens(served) == []
        assert [type(each.exception()) for each in waiting] == [CatalogBusy, CatalogBusy]
    served.close()


@pytest.mark.parametrize("privileges", ["SELECT", "SELECT, INSERT, UPDATE, DELETE"])
def test_role_without_ddl_reads_and_writes_as_it_may(url: str, connection: Connection, privileges: str) -> None:
    role = f"role_{connection.info.dbname}"
    connection.execute(f"CREATE ROLE {role} LOGIN".encode())
    served = open_engine(url.replace("postgres@", f"{role}@"))
    with pytest.raises(CatalogReadOnly, match=r"run compute-images migrate as a role that can$"):
        add_token(served)
    with open_engine(url).transaction(timeout=10):
        pass
    connection.execute(f"GRANT {privileges} ON ALL TABLES IN SCHEMA public TO {role}".encode())
    served.connect()
    if privileges == "SELECT":
        with pytest.raises(CatalogReadOnly, match=r"permission denied for table catalog$"):
            add_token(served)
        assert read_tokens(served) == []
    else:
        add_token(served)
        assert read_tokens(served) == [TOKEN]
    served.close()


def test_only_one_mirror_has_the_lock_until_its_session_ends(
    engine: PostgreSQLEngine, url: str, connection: Connection
) -> None:
    mirror, other = open_engine(url), open_engine(url)
    with mirror.mirror_lock():
        with pytest.raises(MirrorAlreadyRunning), other.mirror_lock():
            pass
        mirror.write_sync_status(SyncStatus(images=1))
        assert mirror.read_sync_status() == engine.read_sync_status() == SyncStatus(images=1)
        assert [user.is_mirror for user in other.users() or ()].count(True) == 1
        connection.execute(TERMINATE_OTHERS)
        with pytest.raises(MirrorLockLost):
            add_token(mirror)
        with pytest.raises(MirrorLockLost):
            mirror.write_sync_status(SyncStatus())
        with pytest.raises(MirrorLockLost):
            mirror.read_sync_status()
        with other.mirror_lock():
            add_token(other)
    assert read_tokens(engine) == [TOKEN]
    assert engine.read_sync_status() == SyncStatus(images=1)


def test_schema_has_a_name_with_uppercase_letters(url: str, connection: Connection) -> None:
    in_schema = url + "?options=-csearch_path%3D%22Images%22"
    engine = open_engine(in_schema)
    for use in (lambda: engine.mirror_lock().__enter__(), engine.schema_state, lambda: add_token(engine)):
        with pytest.raises(CatalogUnavailable, match=f"^{engine.name}: the search_path of the URL names no schema"):
            use()
    connection.execute('CREATE SCHEMA "Images"')
    add_token(engine)
    with engine.mirror_lock():
        assert [sum(user.is_mirror for user in each.users() or ()) for each in (engine, open_engine(url))] == [1, 0]
        with open_engine(url).mirror_lock():  # of another catalog
            pass
    assert engine.info().bytes > 0
    assert list(check_catalog(engine)) == []
    engine.close()


def test_catalog_is_not_in_the_first_schema_of_the_search_path(
    engine: PostgreSQLEngine, url: str, connection: Connection
) -> None:
    connection.execute("CREATE SCHEMA first; CREATE TABLE first.other (); GRANT SELECT ON first.other TO PUBLIC")
    other = open_engine(url + "?options=-csearch_path%3Dfirst,public")
    with other.mirror_lock():
        with pytest.raises(MirrorAlreadyRunning), engine.mirror_lock():
            pass
        assert [user.is_mirror for user in other.users() or ()] == [user.is_mirror for user in engine.users() or ()]
    assert other.info() == engine.info()
    assert list(check_catalog(other)) == []


def test_address_of_a_session_of_another_role_is_unknown(url: str, connection: Connection) -> None:
    role = f"other_{connection.info.dbname}"
    connection.execute(f"CREATE ROLE {role} LOGIN".encode())
    assert open_engine(url.replace("postgres@", f"{role}@")).users() == [
        CatalogUser(connection.info.backend_pid, "compute-images", False, False, "unknown host")
    ]
