"""Statements of requests, on libpq itself: they take half of the client's time that a cursor of psycopg takes."""

from collections.abc import Sequence
from itertools import count
from typing import TYPE_CHECKING, Any

from psycopg import generators
from psycopg.adapt import PyFormat, Transformer
from psycopg.errors import error_from_result
from psycopg.pq import ExecStatus, Format
from psycopg.pq.abc import PGresult

if TYPE_CHECKING:
    from app.catalog.postgresql.database import Connection

Row = tuple[Any, ...]

_numbers = count(1)  # of names
MAX_PREPARED = 200  # statements of a connection. Each takes some 50 kB of the server's memory.


def query(connection: "Connection", statement: str, values: Sequence[Any] = ()) -> list[Row]:
    """Return the rows of a query, with parameters $1, $2 and so on. It is prepared when it is first executed."""
    transformer = Transformer(connection)
    parameters = transformer.dump_sequence(values, [PyFormat.AUTO] * len(values))
    key = statement, transformer.types or ()
    name = connection.prepared.pop(key, None) or _prepare(connection, *key)
    connection.prepared[key] = name  # the last one used is the last one
    connection.pgconn.send_query_prepared(name, parameters, transformer.formats, Format.BINARY)
    result = _wait(connection)
    transformer.set_pgresult(result, set_loaders=True, format=Format.BINARY)
    return transformer.load_rows(0, result.ntuples, tuple)


def command(connection: "Connection", text: str) -> None:
    """Execute a command without parameters and results."""
    connection.pgconn.send_query(text.encode())
    _wait(connection)


def _prepare(connection: "Connection", statement: str, types: tuple[int, ...]) -> bytes:
    """Prepare a statement, and deallocate the one that was not used for the longest time if there are too many."""
    if len(connection.prepared) >= MAX_PREPARED:
        oldest = connection.prepared.pop(next(iter(connection.prepared)))
        command(connection, f"DEALLOCATE {oldest.decode()}")
    name = f"images_{next(_numbers)}".encode()
    connection.pgconn.send_prepare(name, statement.encode(), types)
    _wait(connection)
    return name


def _wait(connection: "Connection") -> PGresult:
    """Return the result of what was sent. Raises psycopg.Error."""
    result: PGresult = connection.wait(generators.execute(connection.pgconn))[-1]
    if result.status not in (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK):
        raise error_from_result(result)
    return result
