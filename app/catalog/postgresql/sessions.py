"""The sessions that read and write a catalog: those of requests, of commands, and of the mirror."""

import math
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial

import psycopg
from psycopg.errors import InsufficientPrivilege, UndefinedTable

from app.catalog.engine import SchemaState
from app.catalog.errors import CatalogBusy, CatalogMissing, CatalogReadOnly, CatalogUnavailable, ReadLimitExceeded
from app.catalog.postgresql.database import (
    Connection,
    commit,
    connect,
    roll_back,
    translate,
    translate_errors,
    translate_read_error,
)
from app.catalog.postgresql.hosts import connect_to_first
from app.catalog.postgresql.migrations import migrate, read_state
from app.catalog.postgresql.pool import ConnectionPool
from app.catalog.postgresql.sync_status import try_lock, unlock
from app.catalog.postgresql.url import Parameters, catalog_name, parse_url, split_hosts
from app.catalog.postgresql.version import PREPARE
from app.catalog.postgresql.writer import lock_catalog
from app.errors import MirrorAlreadyRunning, MirrorLockLost

# Seconds: for a read without `read_limits`; for the writes of a request, in addition to its wait for other writers.
_READ_TIMEOUT, _WRITE_TIMEOUT = 10.0, 10.0
_SNAPSHOT = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_WRITE = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL lock_timeout = {}"
_REQUEST_IDLE_TIMEOUT = "; SET LOCAL idle_in_transaction_session_timeout = '30s'"  # shorter than that of a command


def _begin_write(timeout: float) -> str:
    """Return the SQL that starts a transaction. The timeout (seconds) is that of its waits for locks."""
    return _WRITE.format(max(1, int(timeout * 1000)))  # a lock_timeout of 0 would disable it


class ThreadState(threading.local):
    """The limits of a thread's reads."""

    deadline = math.inf  # on the monotonic clock
    max_images = math.inf  # of a page


class Sessions:
    """Opens the connections of one process to the database of a catalog. Forked processes do not share them.

    Requests use a pool, whose statements have deadlines. A command opens its own connections, whose statements have
    none. A mirror writes in the session that holds its lock.
    """

    def __init__(self, url: str, *, max_readers: int) -> None:
        """Set the number of connections of the pool. Raises InvalidUrl."""
        self._parameters = parse_url(url)
        self.name = catalog_name(self._parameters)
        self._primary = self._parameters  # of the server that the version was last read from, once there was one
        self.pool = ConnectionPool(lambda deadline: connect(self._primary, deadline=deadline), max_readers)
        self.thread = ThreadState()
        self.serves_requests = False
        # Writers exclude each other in the database. With this lock, those that wait occupy no connections of the pool.
        self._writes = threading.Lock()
        self._lock_connection: Connection | None = None  # of the mirror

    @contextmanager
    def read(self, *, is_single: bool = False) -> Iterator[Connection]:
        """Execute the block in a read-only transaction that sees one state, within the limits of the thread.

        A single statement sees one state without a transaction: BEGIN and ROLLBACK would take longer than it does. For
        requests: uses the pool. Raises ReadLimitExceeded, CatalogConnectionLost, CatalogBusy, CatalogDamaged,
        SchemaMismatch and CatalogUnavailable.
        """
        connection = None
        is_limited = self.thread.deadline < math.inf
        deadline = self.thread.deadline if is_limited else time.monotonic() + _READ_TIMEOUT
        try:
            with self.pool.transaction(None if is_single else _SNAPSHOT, deadline=deadline) as connection:
                yield connection
        except (psycopg.Error, UnicodeDecodeError) as error:
            translated = translate_read_error(error, self.name, connection)
            if isinstance(translated, ReadLimitExceeded) and not is_limited:
                raise CatalogUnavailable(str(translate(error, self.name))) from error
            raise translated from error

    @contextmanager
    def open_snapshot(self) -> Iterator[tuple[Connection, SchemaState]]:
        """Execute the block in a read-only transaction that sees one state, on a new connection.

        Yields the connection, and what the database contains. Raises CatalogUnavailable, also for a database of another
        application, and CatalogOfLaterVersion.
        """
        with translate_errors(self.name), closing(connect(self._parameters)) as connection:
            connection.execute(_SNAPSHOT)
            yield connection, read_state(connection, self.name)

    @contextmanager
    def any_session(self) -> Iterator[Connection]:
        """Execute the block in the session that holds the mirror's lock, in one of the pool, or in a new one.

        Raises MirrorLockLost, and what `read` and `open_snapshot` raise.
        """
        with translate_errors(self.name):
            if self._lock_connection is not None:
                with self._locked_session() as connection:
                    yield connection
            elif self.serves_requests:
                with self.read() as connection:
                    yield connection
            else:
                with self.open_snapshot() as (connection, _):
                    yield connection

    @contextmanager
    def write(self, timeout: float) -> Iterator[tuple[Connection, SchemaState]]:
        """Execute the block in a transaction; create or upgrade the catalog if necessary.

        Yields the connection, and what the database contained before. Raises CatalogBusy if the wait for a lock exceeds
        the timeout (seconds), CatalogReadOnly, CommitUnknown and CatalogUnavailable.
        """
        with self.write_existing(timeout) as (connection, state):
            yield connection, state if state is SchemaState.CURRENT else self._migrate(connection, state)

    @contextmanager
    def write_existing(self, timeout: float) -> Iterator[tuple[Connection, SchemaState]]:
        """Execute the block in a transaction, as `write` does, but neither create nor upgrade the catalog.

        Yields the connection, and what the database contains.
        """
        with translate_errors(self.name), self._begin(timeout) as connection:
            yield connection, read_state(connection, self.name)
            commit(connection, self.name)

    @contextmanager
    def _begin(self, timeout: float) -> Iterator[Connection]:
        if self.serves_requests:
            with self._begin_for_request(timeout) as connection:
                yield connection
            return
        begin = _begin_write(timeout)
        if self._lock_connection is None:
            with closing(connect(self._parameters)) as connection:
                connection.execute(begin)
                yield connection
            return
        with self._locked_session() as connection:
            try:
                connection.execute(begin)
                yield connection
            finally:
                roll_back(connection)

    @contextmanager
    def _begin_for_request(self, timeout: float) -> Iterator[Connection]:
        started = time.monotonic()
        if not self._writes.acquire(timeout=timeout):
            raise CatalogBusy
        try:
            remaining = started + timeout - time.monotonic()
            deadline = started + timeout + _WRITE_TIMEOUT
            with self.pool.transaction(
                _begin_write(remaining) + _REQUEST_IDLE_TIMEOUT, deadline=deadline
            ) as connection:
                yield connection
        finally:
            self._writes.release()

    def _migrate(self, connection: Connection, state: SchemaState) -> SchemaState:
        encoding = connection.info.parameter_status("server_encoding")
        if state is SchemaState.EMPTY and encoding != "UTF8":
            raise CatalogUnavailable(
                f"{self.name} has the encoding {encoding}: create the database with ENCODING 'UTF8' TEMPLATE template0"
            )
        try:
            if state is SchemaState.OUTDATED:
                lock_catalog(connection)  # before the tables, in the order in which writers of an earlier version do
            return migrate(connection)
        except InsufficientPrivilege as error:
            raise CatalogReadOnly(
                f"{self.name}: the role of the URL cannot create or upgrade the catalog; run compute-images migrate "
                "as a role that can"
            ) from error

    @contextmanager
    def mirror_lock(self) -> Iterator[None]:
        """Hold the lock of the catalog's mirror during the block.

        Raises MirrorAlreadyRunning and CatalogUnavailable.
        """
        with translate_errors(self.name):
            connection = connect(self._parameters)
        with closing(connection):
            with translate_errors(self.name):
                if not try_lock(connection):
                    raise MirrorAlreadyRunning(self.name)
            self._lock_connection = connection
            try:
                yield
            finally:
                self._lock_connection = None
                with suppress(psycopg.Error):
                    unlock(connection)

    @contextmanager
    def _locked_session(self) -> Iterator[Connection]:
        """Execute the block in the session that holds the lock of the mirror. Raises MirrorLockLost."""
        connection = self._lock_connection
        if connection is None or connection.closed:
            raise MirrorLockLost(self.name)
        try:
            yield connection
        except psycopg.Error as error:
            if connection.closed:
                raise MirrorLockLost(self.name) from error
            raise

    def connect_for_version(self, timeout: float) -> Connection:
        """Open a connection to the primary, and prepare the query of the version. Raises CatalogUnavailable.

        From now on, requests use this server only, so that they neither wait for a host that has vanished, nor read
        from an old primary that is available again. The timeout (seconds) is that of the statements.
        """
        hosts = split_hosts(self._parameters)
        connection = connect_to_first([partial(self._prepare_version, each, timeout) for each in hosts])
        info = connection.info
        self._primary = {**self._parameters, "host": info.host, "hostaddr": info.hostaddr, "port": str(info.port)}
        return connection

    def _prepare_version(self, parameters: Parameters, timeout: float) -> Connection:
        try:
            connection = connect(parameters, deadline=time.monotonic() + timeout)
            try:
                connection.execute(PREPARE)
                connection.execute("EXECUTE version")  # because PREPARE does not check privileges
            except BaseException:
                connection.close()
                raise
        except UndefinedTable:
            raise CatalogMissing(self.name) from None
        except psycopg.Error as error:
            raise CatalogUnavailable(str(translate(error, self.name))) from error
        return connection
