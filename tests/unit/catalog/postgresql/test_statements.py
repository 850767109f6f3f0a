"""Prepared statements of a connection."""

import psycopg
import pytest

from app.catalog.postgresql.database import Connection
from app.catalog.postgresql.statements import MAX_PREPARED, command, query

pytestmark = pytest.mark.external


def prepared(connection: Connection) -> int:
    return int(query(connection, "SELECT count(*) FROM pg_prepared_statements")[0][0])


@pytest.mark.parametrize("value", [None, True, 1, 2**40, "a'\\%s", b"\0\xff", [1, 2**40], [b"\0", b"a"]])
def test_values_of_each_type_are_passed_and_returned(connection: Connection, value: object) -> None:
    type_ = {bool: "boolean", int: "bigint", bytes: "bytea"}.get(type(value), "text")
    if isinstance(value, list):
        type_ = "bytea[]" if isinstance(value[0], bytes) else "bigint[]"
    assert query(connection, f"SELECT $1::{type_}, 2", [value]) == [(value, 2)]


def test_statement_remains_prepared_after_a_rollback(connection: Connection) -> None:
    for _ in range(2):
        command(connection, "BEGIN")
        assert query(connection, "SELECT $1 + 1", [1]) == [(2,)]
        connection.execute("CREATE TEMPORARY TABLE dropped ()")
        connection.execute("DROP TABLE dropped")
        connection.execute("ROLLBACK")
    assert prepared(connection) == 2


def test_statements_that_were_not_used_for_the_longest_time_are_deallocated(connection: Connection) -> None:
    for number in range(MAX_PREPARED + 10):
        query(connection, "SELECT 'used often'")
        query(connection, f"SELECT {number}")
    assert prepared(connection) == MAX_PREPARED
    often = "SELECT count(*) FROM pg_prepared_statements WHERE statement = $1"
    assert query(connection, often, ["SELECT 'used often'"]) == [(1,)]


def test_failed_statement_can_be_repeated(connection: Connection) -> None:
    with pytest.raises(psycopg.errors.UndefinedTable, match='"missing" does not exist'):
        query(connection, "SELECT * FROM missing")
    connection.execute("CREATE TABLE missing (id integer)")
    assert query(connection, "SELECT * FROM missing") == []
    with pytest.raises(psycopg.errors.DivisionByZero):
        query(connection, "SELECT 1 / $1", [0])
    assert query(connection, "SELECT 1 / $1", [1]) == [(1,)]
