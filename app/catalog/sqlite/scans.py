"""The queries of pages: from the scans of a plan, SQL and the values of its parameters."""

from collections.abc import Sequence
from typing import Any

from app.catalog.index_queries import IndexQueries, Shape, Term
from app.catalog.listing import Condition

# SQLite merges the scans lazily, so none goes further than the page needs. One scan with an OR for its partitions would
# sort all entries that match.
# The + before a parameter of LIMIT keeps SQLite from preparing the statement anew for each number.
# The result is one text, in the order of the subquery. Reading a thousand rows would take twice as long, 0.26 ms.
_PAGE = "SELECT group_concat(-sort_key) FROM ({scans} ORDER BY created DESC, sort_key DESC LIMIT +?) AS page"


def _term(condition: Condition, values: list[Any]) -> Term:
    if isinstance(condition.value, tuple):
        values += condition.value
        return condition.column, f"IN ({', '.join('?' * len(condition.value))})"
    values.append(condition.value)
    return condition.column, ">= ?" if condition.is_minimum else "= ?"


def _page_statement(shapes: Sequence[Shape]) -> str:
    scans = (f"SELECT created, sort_key {_from_clause(shape)}" for shape in shapes)
    return _PAGE.format(scans=" UNION ALL ".join(scans))


def _count_statement(shapes: Sequence[Shape]) -> str:
    counts = (f"(SELECT count(*) FROM (SELECT 1 {_from_clause(shape)} LIMIT +?) AS matches)" for shape in shapes)  # noqa: S608 no user input
    return f"SELECT {', '.join(counts)}"


def _from_clause(shape: Shape) -> str:
    """Return the FROM clause of a scan.

    SQLite has no statistics of this table and would have to guess, so INDEXED BY names the index. It cannot name the
    primary key; there, a + before the other columns keeps SQLite from using their indexes.
    """
    column = shape.driving and shape.driving[0]
    index = f"INDEXED BY image_index_by_{'change' if column == 'changed' else column} " if column else ""
    return f"FROM image_index {index}WHERE {shape.where(other='+{}')}"


_queries = IndexQueries(_term, _page_statement, _count_statement)
page_query, count_query = _queries.page, _queries.count
