"""A pool of connections for the requests of one process."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore, Lock

import psycopg

from app.catalog.errors import CatalogUnavailable
from app.catalog.postgresql.database import Connection, DeadlineExceeded, PoolExhausted, roll_back
from app.catalog.postgresql.statements import command


class ConnectionPool:
    """A bounded number of connections that threads share. The connection that was returned last is reused first.

    Each connection belongs to a generation. After a failover, connections of earlier generations may lead to the old
    primary, so they are no longer used. During an outage, all transactions fail at once.
    """

    def __init__(self, connect: Callable[[float], Connection], size: int) -> None:
        """Set the maximum number of connections, and the function that opens one.

        Its argument is the deadline of the statements, on the monotonic clock.
        """
        self._connect = connect
        self._free = BoundedSemaphore(size)
        self._lock = Lock()  # protects the following attributes
        self._idle: list[Connection] = []
        self._in_use: set[Connection] = set()
        self._generation = 0
        self._outage: str | None = None  # the reason of the current outage

    @contextmanager
    def transaction(self, begin: str | None, *, deadline: float) -> Iterator[Connection]:
        """Execute the block in a transaction, which is rolled back at the end unless the block committed it.

        `begin` is the SQL that starts the transaction. If a pooled connection breaks at this first statement, a new one
        replaces it. Without `begin`, each statement is a transaction, and one that finds the connection broken fails.
        Waits for a connection and for statements end at the deadline (monotonic clock). Raises psycopg.Error; during an
        outage, raises CatalogUnavailable at once.
        """
        self._require_no_outage()
        if not self._free.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise PoolExhausted("all connections of this process are in use")
        try:
            connection = self._begin(begin, deadline)
            try:
                yield connection
            finally:
                if connection.closed and not connection.is_overdue:
                    self._close_idle()  # the others are probably broken too
                roll_back(connection)
                self._put_back(connection)
        finally:
            self._free.release()

    def start_generation(self, number: int) -> None:
        """End an outage, and close the connections of other generations as soon as they are idle."""
        with self._lock:
            self._generation, self._outage = number, None
        self._close_idle()

    def suspend(self, reason: str) -> None:
        """Begin an outage: until the next generation starts, all transactions fail, including those in progress."""
        with self._lock:
            self._outage = reason
            for connection in self._in_use:
                connection.shut_down()
        self._close_idle()

    def _begin(self, begin: str | None, deadline: float) -> Connection:
        with self._lock:
            connection = self._idle.pop() if self._idle else None
        if connection:
            try:
                return self._execute(connection, begin, deadline)
            except DeadlineExceeded:
                raise
            except psycopg.OperationalError:
                self._close_idle()
        with self._lock:
            self._require_no_outage()
            generation = self._generation  # read before connecting, which chooses the server
        connection = self._connect(deadline)
        connection.generation = generation
        return self._execute(connection, begin, deadline)

    def _require_no_outage(self) -> None:
        if self._outage:
            raise CatalogUnavailable(self._outage)

    def _put_back(self, connection: Connection) -> None:
        with self._lock:
            self._in_use.discard(connection)
            if not (connection.closed or connection.generation != self._generation):
                self._idle.append(connection)
                return
        connection.close()

    def _close_idle(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _execute(self, connection: Connection, begin: str | None, deadline: float) -> Connection:
        """Execute the first statement of a transaction, and return the connection, which is closed on failure."""
        connection.deadline = deadline
        try:
            with self._lock:
                self._require_no_outage()  # of an outage that begins later, `suspend` informs the connections in use
                self._in_use.add(connection)
            if begin is not None:
                command(connection, begin)
        except BaseException:
            connection.close()
            self._put_back(connection)
            raise
        return connection
