"""The version of the catalog, which the event loop reads from the primary without blocking.

Every request needs it, so libpq itself reads it: psycopg's asynchronous connection takes several times as long, and
waits without an end in a network that drops packets.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from threading import Event, Thread

import psycopg
from psycopg import pq

from app.catalog.errors import CatalogDamaged, CatalogUnavailable
from app.catalog.postgresql.database import Connection

TIMEOUT = 2.0  # seconds
PREPARE = "PREPARE version AS SELECT version FROM catalog"
_STATEMENT = b"version"
_RETRY_INTERVAL = 0.2  # seconds between attempts to connect

VersionFuture = asyncio.Future[tuple[int, bytes]]


@dataclass(slots=True)
class _Query:
    """A query that was or will be sent. Several results share it after one was sent on a connection that broke."""

    results: list[VersionFuture]
    deadline: float  # on the clock of the event loop


class VersionReader:
    """Reads the version on a connection of its own. All methods are for the thread of the event loop.

    Callers share a query that is sent in the iteration of the event loop in which they call: the requests of all of
    them had arrived before it began. While a query has no result, callers share the next one. A version contains the
    number of the connection: a server that was promoted without the last changes has an earlier state of the catalog,
    and could reach the same version with another one.

    When the connection breaks, callers wait for the first attempt to replace it. If that fails, or if a query has no
    result in time, all callers fail at once, until an attempt succeeds.
    """

    def __init__(
        self,
        connect: Callable[[], Connection],
        on_connect: Callable[[int], None],
        on_outage: Callable[[str], None],
        *,
        timeout: float = TIMEOUT,
    ) -> None:
        """Set a function that opens a connection and prepares the query, and what is called with its number.

        `on_outage` is called with the reason why there is no connection, until there is one again.
        """
        self._connect = connect
        self._on_connect = on_connect
        self._on_outage = on_outage
        self._timeout = timeout
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._connection: Connection | None = None
        self._pgconn: pq.abc.PGconn  # of the connection
        self._socket = -1  # its file descriptor, which libpq does not return any more after a loss
        self._number = 0
        self._sent: _Query | None = None
        self._next: _Query | None = None
        self._current: VersionFuture | None = None  # of the query that was sent in this iteration of the event loop
        self._value: bytes | None = None
        self._error: CatalogUnavailable | None = None  # why there is no connection, since the first attempt failed
        self._stop: Event | None = None  # of the thread that tries to connect, if there is one

    def read(self) -> VersionFuture:
        """Return the future of the version. Raises CatalogUnavailable, also as the exception of the future."""
        if self._current is not None:
            return self._current
        if self._next is None:
            loop = asyncio.get_running_loop()
            if loop is not self._loop:
                self._attach(loop)
            if self._error is not None:
                raise self._error
            self._next = _Query([loop.create_future()], loop.time() + self._timeout)
            if self._timer is None:  # one for many queries: a timer for each would take longer than the rest of this
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
        """Close the connection, and fail what waits for it. A later read opens another one."""
        self._disconnect()
        self._fail(CatalogUnavailable("the catalog was closed"))
        self._attach(None)

    def _expire(self) -> None:
        self._current = None

    def _attach(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Change to another event loop. Queries of the one before can have no result any more."""
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
        try:  # the query is so short that it is always sent completely, without PQflush
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
                    self._reconnect()  # which raises the error again if it persists
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
        self._begin_outage(CatalogUnavailable(f"the database did not respond within {self._timeout:g} s"))
        self._start_connecting(self._loop)

    def _reconnect(self) -> None:
        """Replace a connection that broke. What waits for a version waits for the first attempt."""
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
        self._on_outage(str(error))
        self._fail(error)

    def _fail(self, error: CatalogUnavailable) -> None:
        self._error = error
        for query in filter(None, (self._sent, self._next)):
            _set_exception(query, error)
        self._sent = self._next = None

    def _start_connecting(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._stop is None:
            self._stop = Event()
            # Not in an executor, whose end waits for the threads: looking up a host name has no deadline.
            arguments = (loop, self._stop)
            Thread(target=self._run_attempts, args=arguments, name="catalog-version", daemon=True).start()

    def _run_attempts(self, loop: asyncio.AbstractEventLoop, stop: Event) -> None:
        """Try to connect until it succeeds. Runs in a thread."""
        outcome: Connection | CatalogUnavailable | None = None
        while not (isinstance(outcome, Connection) or stop.wait(_RETRY_INTERVAL if outcome else 0)):
            try:
                outcome = self._connect()
            except CatalogUnavailable as error:
                outcome = error
            try:
                loop.call_soon_threadsafe(self._finish_attempt, stop, outcome)
            except RuntimeError:  # the event loop was closed
                if isinstance(outcome, Connection):
                    outcome.close()
                return

    def _finish_attempt(self, stop: Event, outcome: Connection | CatalogUnavailable) -> None:
        if isinstance(outcome, CatalogUnavailable):
            if not stop.is_set():
                self._begin_outage(outcome)
        elif stop.is_set() or self._loop is None:
            outcome.close()
        else:
            self._stop = self._error = None
            self._connection, self._pgconn, self._socket = outcome, outcome.pgconn, outcome.pgconn.socket
            self._number += 1
            self._on_connect(self._number)
            self._loop.add_reader(self._socket, self._receive)
            self._send()


def _set_exception(query: _Query, error: CatalogUnavailable) -> None:
    for result in query.results:
        if not result.done():
            result.set_exception(error)
            result.exception()  # or asyncio would log it for a client that has closed its connection meanwhile
