"""Executes statements through libpq itself, which takes half the CPU time of psycopg's cursors."""

from collections.abc import Sequence
from itertools import count
from typing import TYPE_CHECKING, Any

from psycopg import generators
from psycopg.adapt import PyFormat, Transformer
from psycopg.errors import FeatureNotSupported, InvalidSqlStatementName, error_from_result
from psycopg.pq import ExecStatus, Format
from psycopg.pq.abc import PGresult

if TYPE_CHECKING:
    from app.catalog.postgresql.database import Connection

Row = tuple[Any, ...]

_numbers = count(1)  # of names
_UNUSABLE = (FeatureNotSupported, InvalidSqlStatementName)  # a result has another type; or someone executed DEALLOCATE
MAX_PREPARED = 200  # statements of a connection; each takes about 50 kB of memory on the server


def query(connection: "Connection", statement: str, values: Sequence[Any] = ()) -> list[Row]:
    """Return the rows of a query, whose parameters are $1, $2 and so on. Raises psycopg.Error.

    The query is prepared when a connection first executes it with values of these types.
    """
    transformer = Transformer(connection)
    parameters = transformer.dump_sequence(values, [PyFormat.AUTO] * len(values))
    key = statement, transformer.types or ()
    name = connection.prepared.pop(key, None) or _prepare(connection, *key)
    connection.prepared[key] = name  # the most recently used statement is the last one
    connection.pgconn.send_query_prepared(name, parameters, transformer.formats, Format.BINARY)
    result = _wait(connection)
    transformer.set_pgresult(result, set_loaders=True, format=Format.BINARY)
    return transformer.load_rows(0, result.ntuples, tuple)


def command(connection: "Connection", text: str) -> None:
    """Execute commands that have no parameters and return no rows. Raises psycopg.Error."""
    connection.pgconn.send_query(text.encode())
    _wait(connection)


def _prepare(connection: "Connection", statement: str, types: tuple[int, ...]) -> bytes:
    """Prepare a statement, and return its name. If there are too many, deallocate the least recently used one."""
    if len(connection.prepared) >= MAX_PREPARED:
        oldest = connection.prepared.pop(next(iter(connection.prepared)))
        command(connection, f"DEALLOCATE {oldest.decode()}")
    name = f"images_{next(_numbers)}".encode()
    connection.pgconn.send_prepare(name, statement.encode(), types)
    _wait(connection)
    return name


def _wait(connection: "Connection") -> PGresult:
    """Wait for the statements that were sent, and return the last result.

    Closes the connection if its prepared statements can no longer be used. Raises psycopg.Error.
    """
    result: PGresult = connection.wait(generators.execute(connection.pgconn))[-1]
    if result.status not in (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK):
        error = error_from_result(result)
        if isinstance(error, _UNUSABLE):
            connection.close()
        raise error
    return result
