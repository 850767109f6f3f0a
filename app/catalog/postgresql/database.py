"""Connections to the database of a catalog: opening them, the deadlines of their statements, and their errors."""

import math
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from socket import SHUT_RDWR, socket
from threading import Lock
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.conninfo import make_conninfo
from psycopg.pq import TransactionStatus
from psycopg.rows import TupleRow

from app.catalog.errors import (
    CatalogBusy,
    CatalogConnectionLost,
    CatalogDamaged,
    CatalogReadOnly,
    CatalogUnavailable,
    CommitUnknown,
    NotStarted,
    ReadLimitExceeded,
    SchemaMismatch,
)
from app.catalog.postgresql.schema import SESSION_SETTINGS, SETTINGS_SINCE_17, VERSION_17
from app.catalog.postgresql.statements import command
from app.catalog.postgresql.url import Parameters
from app.errors import DomainError

APPLICATION_NAME = "compute-images"
# Values that a URL can override, but neither libpq's environment variables nor a service file. They also let commands,
# which have no deadlines, notice an unreachable server.
_DEFAULTS = {
    "target_session_attrs": "read-write",  # of several hosts, only the primary
    "connect_timeout": "2",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",  # milliseconds
}
# Parameters that a URL cannot override. `status` finds the connections by their application name.
_FIXED = {"application_name": APPLICATION_NAME, "client_encoding": "UTF8"}

# Beginnings of SQLSTATE codes, https://www.postgresql.org/docs/current/errcodes-appendix.html
_TRANSLATIONS: Mapping[str, Callable[[str], DomainError]] = {
    "55P03": lambda _: CatalogBusy(),  # lock_not_available
    "40": lambda _: CatalogBusy(),  # transaction rollback: a deadlock
    "25006": CatalogReadOnly,  # read_only_sql_transaction
    "42501": CatalogReadOnly,  # insufficient_privilege
    "42P01": lambda _: SchemaMismatch(),  # undefined_table
    "42703": lambda _: SchemaMismatch(),  # undefined_column
    "XX001": CatalogDamaged,  # data_corrupted
    "XX002": CatalogDamaged,  # index_corrupted
}
_PRIVATE_CLASSES = ("22", "23")  # of errors whose messages contain values
_UNTRANSLATABLE = "22P05"  # untranslatable_character
_ENCODING = re.compile("[A-Z][A-Z0-9_]+")  # in the message, which the server may have translated

_T = TypeVar("_T")


class DeadlineExceeded(psycopg.OperationalError):
    """A statement did not complete before the deadline of its connection, which was closed."""


class PoolExhausted(DeadlineExceeded):
    """No connection of the pool became free before the deadline, so that no statement was executed."""


class Connection(psycopg.Connection[TupleRow]):
    """A connection whose statements end at a deadline, even if the network or the server does not respond."""

    deadline = math.inf  # on the monotonic clock
    is_overdue = False  # whether it was closed at its deadline
    generation = 0  # of the pool
    # A duplicate of libpq's descriptor. Another thread can shut it down even while libpq closes its own, whose number
    # could then be that of another file.
    _socket: socket | None = None
    prepared: dict[tuple[str, tuple[int, ...]], bytes]  # names of prepared statements, by text and parameter types

    def __del__(self, *_: object) -> None:
        """Do not warn, as psycopg does, about an open connection: libpq closes it."""
        self._close_socket()

    def close(self) -> None:
        """Close the connection."""
        super().close()
        self._close_socket()

    def duplicate_socket(self) -> None:
        """Prepare for `shut_down`. Raises OSError."""
        self._socket, self._socket_lock = socket(fileno=os.dup(self.fileno())), Lock()

    def shut_down(self) -> None:
        """Shut down the socket while another thread uses the connection: its statement fails with a lost connection."""
        if self._socket is not None:
            with self._socket_lock, suppress(OSError):
                self._socket.shutdown(SHUT_RDWR)

    def _close_socket(self) -> None:
        if self._socket is not None:
            with self._socket_lock:
                self._socket.close()

    def wait(self, gen: PQGen[_T], *arguments: Any, **options: Any) -> _T:
        """Wait for a statement in psycopg's own loop, which resumes the generator at least every 0.1 seconds.

        Raises DeadlineExceeded, and closes the connection, at the deadline.
        """
        if self.deadline == math.inf:
            return super().wait(gen, *arguments, **options)
        try:
            return super().wait(_until(self.deadline, gen), *arguments, **options)
        except DeadlineExceeded:
            self.is_overdue = True
            self.close()
            raise


def _until(deadline: float, gen: PQGen[_T]) -> PQGen[_T]:
    """Run a generator of psycopg. Raises DeadlineExceeded when it is resumed after the deadline (monotonic clock)."""
    try:
        waits_for = next(gen)
        while True:
            ready = yield waits_for
            if time.monotonic() > deadline:
                raise DeadlineExceeded("the statement took too long")
            waits_for = gen.send(ready)
    except StopIteration as end:
        result: _T = end.value
        return result


def connect(parameters: Parameters, *, deadline: float = math.inf) -> Connection:
    """Open a connection in autocommit mode, and apply SESSION_SETTINGS. Raises psycopg.Error.

    The deadline, on the monotonic clock, is that of statements; `connect_timeout` limits the connecting.
    """
    try:
        return _connect(make_conninfo(**{**_DEFAULTS, **parameters, **_FIXED}), deadline)
    except OSError as error:  # such as too many open files
        raise psycopg.OperationalError(str(error)) from error


def _connect(conninfo: str, deadline: float) -> Connection:
    connection = Connection.connect(conninfo, autocommit=True)
    try:
        connection.duplicate_socket()
        connection.prepare_threshold = None  # otherwise, psycopg deallocates all statements after each ROLLBACK
        connection.prepared = {}
        connection.deadline = deadline
        later = SETTINGS_SINCE_17 if connection.info.server_version >= VERSION_17 else {}
        settings = {**SESSION_SETTINGS, **later}
        connection.execute("".join(f"SET {name} = {value};" for name, value in settings.items()))
    except BaseException:
        connection.close()
        raise
    return connection


def roll_back(connection: Connection) -> None:
    """Roll back the transaction, if there is one. If that fails, close the connection, which has the same effect."""
    try:
        if not connection.closed and connection.pgconn.transaction_status != TransactionStatus.IDLE:
            command(connection, "ROLLBACK")
    except psycopg.Error:
        connection.close()


def commit(connection: Connection, name: str) -> None:
    """Commit the transaction. `name` is that of the catalog in messages.

    Raises CommitUnknown if the connection breaks meanwhile, CatalogUnavailable if the server rolled the transaction
    back instead, and psycopg.Error.
    """
    try:
        result = connection.execute("COMMIT")
    except psycopg.Error as error:
        if connection.closed:
            raise CommitUnknown(name) from error
        raise
    if result.statusmessage != "COMMIT":  # after an error in the transaction, COMMIT rolls it back
        raise CatalogUnavailable(f"{name}: the transaction was rolled back")


@contextmanager
def translate_errors(name: str) -> Iterator[None]:
    """Translate psycopg's errors in the block to domain errors. `name` is that of the catalog in messages.

    Raises CatalogBusy, CatalogReadOnly, CatalogDamaged, SchemaMismatch and CatalogUnavailable.
    """
    try:
        yield
    except (psycopg.Error, UnicodeDecodeError) as error:
        raise translate(error, name) from error


def translate(error: psycopg.Error | UnicodeDecodeError, name: str) -> DomainError:
    """Return the domain error for an error of psycopg. Its message is one line, without statements and values."""
    if isinstance(error, UnicodeDecodeError):  # possible if the encoding of the database is SQL_ASCII
        return CatalogDamaged(f"{name}: {error}")
    code = error.sqlstate or ""
    message = f"{name}: {_describe(error, code)}"
    for prefix, translated in _TRANSLATIONS.items():
        if code.startswith(prefix):
            return translated(message)
    return CatalogUnavailable(message)


def translate_read_error(
    error: psycopg.Error | UnicodeDecodeError, name: str, connection: Connection | None
) -> DomainError:
    """Return the domain error for a failed read.

    It is ReadLimitExceeded after the deadline (NotStarted if no connection became free until then), and
    CatalogConnectionLost if the connection broke, so that the read can be repeated. A read never raises
    CatalogReadOnly.
    """
    if isinstance(error, PoolExhausted):
        return NotStarted()
    if isinstance(error, DeadlineExceeded) or (connection is not None and connection.is_overdue):
        return ReadLimitExceeded()
    translated = translate(error, name)
    if connection is not None and connection.closed:
        return CatalogConnectionLost(str(translated))
    return CatalogUnavailable(str(translated)) if isinstance(translated, CatalogReadOnly) else translated


def _describe(error: psycopg.Error, code: str) -> str:
    """Describe an error in one line, without the lines that psycopg adds, which contain the statement and values."""
    if code == _UNTRANSLATABLE and (encodings := _ENCODING.findall(error.diag.message_primary or "")):
        return f"a character has no equivalent in the encoding {encodings[-1]} of the database"
    if code.startswith(_PRIVATE_CLASSES) or isinstance(error, psycopg.DataError):
        return type(error).__name__
    return " ".join((error.diag.message_primary or str(error)).split())
