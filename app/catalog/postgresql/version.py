"""Reads the version of the catalog from the primary, without blocking the event loop.

Nearly every request needs the version, so it is read through libpq itself: psycopg's asynchronous connection takes four
times as long (145 instead of 33 µs of CPU time), and waits forever if the network drops packets.
"""

import asyncio
from dataclasses import dataclass
from functools import partial
from threading import Event, Thread

import psycopg
from psycopg import pq

from app.catalog.errors import CatalogDamaged, CatalogUnavailable
from app.catalog.postgresql.database import Connection
from app.catalog.postgresql.hosts import RETRY_INTERVAL, Attempt, Outcome, repeat
from app.catalog.postgresql.pool import ConnectionPool

TIMEOUT = 2.0  # seconds
PREPARE = "PREPARE version AS SELECT version FROM catalog"
_STATEMENT = b"version"

VersionFuture = asyncio.Future[tuple[int, bytes]]


@dataclass(slots=True)
class _Query:
    """A query that was sent, or that will be sent next. It can have several futures only after a connection broke."""

    results: list[VersionFuture]  # each shared by its callers
    deadline: float  # on the clock of the event loop


class VersionReader:
    """Reads the version on its own connection. All methods have to be called on the thread of the event loop.

    All calls in one iteration of the event loop share a query, because their requests had arrived before the iteration
    began. Calls that come while a query is in progress share the next one.

    A version is the number of the connection and the version in the database. The number matters after a failover: a
    standby that was promoted without the last changes returns to an earlier version of the database, but to no earlier
    version of the reader, so no response that was stored before the failover is sent.

    If the connection breaks, callers wait for the first attempt to replace it. If this attempt fails, or a query times
    out, an outage begins: all callers fail at once, until an attempt succeeds.
    """

    def __init__(self, name: str, connect: Attempt, pool: ConnectionPool, *, timeout: float = TIMEOUT) -> None:
        """Set the name of the catalog in messages, and the timeout of a query in seconds.

        `connect` opens a connection, prepares the query on it, and raises CatalogUnavailable; it runs in a thread.
        Each new connection starts a generation of the pool; an outage suspends the pool.
        """
        self._name = name
        self._connect = connect
        self._pool = pool
        self._timeout = timeout
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._connection: Connection | None = None
        self._pgconn: pq.abc.PGconn  # of the connection
        self._socket = -1  # its file descriptor, which libpq no longer returns once the connection is lost
        self._number = 0  # of the connection
        self._sent: _Query | None = None
        self._next: _Query | None = None
        self._current: VersionFuture | None = None  # of the query that was sent in this iteration of the event loop
        self._value: bytes | None = None  # the result of the sent query, once it has been received
        self._error: CatalogUnavailable | None = None  # the reason of the current outage
        self._stop: Event | None = None  # stops the thread that tries to connect, if there is one

    def read(self) -> VersionFuture:
        """Return the future of the version. Raises CatalogUnavailable, directly or as the exception of the future."""
        if self._current is not None:
            return self._current
        if self._next is None:
            loop = asyncio.get_running_loop()
            if loop is not self._loop:
                self._attach(loop)
            if self._error is not None:
                raise self._error.with_traceback(None)  # otherwise, its traceback would grow with each request
            self._next = _Query([loop.create_future()], loop.time() + self._timeout)
            if self._timer is None:  # one for many queries: a timer for each would take 2 of 35 µs
                self._timer = loop.call_at(self._next.deadline, self._check_deadline)
            if self._connection is None:
                self._start_connecting(loop)
            elif self._sent is None:
                self._current = self._next.results[0]
                self._send()
                loop.call_soon(self._expire)
                return self._current
        return self._next.results[0]

    def close(self) -> None:
        """Close the connection, and let the callers that wait fail. A later read opens another connection."""
        self._disconnect()
        self._fail(CatalogUnavailable(f"{self._name} was closed"))
        self._attach(None)

    def _expire(self) -> None:
        self._current = None

    def _attach(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Change to another event loop, or to none. Queries of the previous loop no longer get a result."""
        if self._sent is not None:
            self._disconnect()
        if self._connection is not None and loop is not None:
            self._remove_reader()
            loop.add_reader(self._socket, self._receive)
        if self._stop is not None:
            self._stop.set()
        self._sent = self._next = self._current = self._timer = self._error = self._stop = None
        self._loop = loop

    def _send(self) -> None:
        if self._sent is not None or self._next is None or self._connection is None:
            return
        self._sent, self._next, self._value = self._next, None, None
        try:  # PQflush is not necessary, because the query is so short that libpq always sends it at once
            self._pgconn.send_query_prepared(_STATEMENT, None)
        except psycopg.Error:
            self._reconnect()

    def _receive(self) -> None:
        pgconn = self._pgconn
        try:
            pgconn.consume_input()
            while not pgconn.is_busy():
                result = pgconn.get_result()
                if result is None:
                    break
                if result.status != pq.ExecStatus.TUPLES_OK:
                    self._reconnect()  # an error that persists ends the attempt, which executes the query, too
                    return
                self._value = result.get_value(0, 0)
            else:
                return  # incomplete
        except psycopg.Error:
            self._reconnect()
            return
        if self._sent is not None:
            self._deliver(self._sent)

    def _deliver(self, query: _Query) -> None:
        self._sent = None
        if self._value is None:
            _set_exception(query, CatalogDamaged("the table catalog is empty"))
        else:
            version = (self._number, self._value)
            for result in query.results:
                if not result.done():
                    result.set_result(version)
        if self._next is not None:
            self._send()

    def _check_deadline(self) -> None:
        self._timer = None
        query = self._sent or self._next  # the older one
        if query is None or self._loop is None:
            return
        if self._loop.time() < query.deadline:
            self._timer = self._loop.call_at(query.deadline, self._check_deadline)
            return
        self._disconnect()
        self._begin_outage(CatalogUnavailable(f"{self._name} did not respond within {self._timeout:g} s"))
        self._start_connecting(self._loop)

    def _reconnect(self) -> None:
        """Replace a broken connection. Callers that wait for a version wait for the first attempt."""
        self._disconnect()
        if self._sent is not None:
            waiting = self._next.results if self._next is not None else []
            self._next = _Query(self._sent.results + waiting, self._sent.deadline)
            self._sent = None
        if self._loop is not None:
            self._start_connecting(self._loop)

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._remove_reader()
            self._connection.close()
            self._connection = None

    def _remove_reader(self) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(self._socket)

    def _begin_outage(self, error: CatalogUnavailable) -> None:
        self._pool.suspend(str(error))
        self._fail(error)

    def _fail(self, error: CatalogUnavailable) -> None:
        self._error = error
        for query in filter(None, (self._sent, self._next)):
            _set_exception(query, error)
        self._sent = self._next = None

    def _start_connecting(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._stop is not None or self._connection is not None or loop is not self._loop:
            return
        stop = Event()
        arguments = (self._connect, stop, partial(self._hand_over, loop, stop))
        try:
            # Not in an executor: its shutdown would wait for the thread, and looking up a host name has no timeout.
            Thread(target=repeat, args=arguments, name="catalog-version", daemon=True).start()
        except RuntimeError:  # the system starts no thread now
            loop.call_later(RETRY_INTERVAL, self._start_connecting, loop)
        else:
            self._stop = stop

    def _hand_over(self, loop: asyncio.AbstractEventLoop, stop: Event, outcome: Outcome) -> None:
        """Pass the outcome of an attempt from its thread to the event loop."""
        try:
            loop.call_soon_threadsafe(self._finish_attempt, stop, outcome)
        except RuntimeError:  # the event loop was closed
            stop.set()
            if isinstance(outcome, Connection):
                outcome.close()

    def _finish_attempt(self, stop: Event, outcome: Outcome) -> None:
        if isinstance(outcome, CatalogUnavailable):
            if not stop.is_set():
                self._begin_outage(outcome)
        elif stop.is_set() or self._loop is None:
            outcome.close()
        else:
            self._stop = self._error = None
            self._connection, self._pgconn, self._socket = outcome, outcome.pgconn, outcome.pgconn.socket
            self._number += 1
            self._pool.start_generation(self._number)
            self._loop.add_reader(self._socket, self._receive)
            self._send()


def _set_exception(query: _Query, error: CatalogUnavailable) -> None:
    for result in query.results:
        if not result.done():
            result.set_exception(error)
            result.exception()  # otherwise, asyncio logs it if the client has closed its connection meanwhile
