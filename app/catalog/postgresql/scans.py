"""The queries of pages: from the scans of a plan, SQL and the values of its parameters."""

import re
from collections.abc import Sequence
from itertools import count
from typing import Any

from app.catalog.index_queries import IndexQueries, Shape, Term
from app.catalog.listing import Condition
from app.catalog.postgresql.schema import text_hash

# Each scan has its own ORDER BY and LIMIT; otherwise, PostgreSQL would read and sort all entries that match. The
# result is a single row, because reading a thousand rows takes longer.
_PAGE = """
SELECT (SELECT version FROM catalog),
       array(SELECT -sort_key FROM ({scans}) AS scans ORDER BY created DESC, sort_key DESC LIMIT ?)
"""


def _term(condition: Condition, values: list[Any]) -> Term:
    column, is_list = condition.column, isinstance(condition.value, tuple)
    parameters: list[Any] = list(condition.value) if isinstance(condition.value, tuple) else [condition.value]
    if column in {"name", "server"}:
        column, parameters = f"{column}_hash", list(map(text_hash, parameters))
    values += [parameters] if is_list else parameters
    return column, "= ANY(?)" if is_list else ">= ?" if condition.is_minimum else "= ?"


def _page_statement(shapes: Sequence[Shape]) -> str:
    statement = _PAGE.format(scans=" UNION ALL ".join(map(_scan_statement, shapes)))
    return _number(statement).replace("{size}", f"${statement.count('?')}")


def _count_statement(shapes: Sequence[Shape]) -> str:
    entries = (f"SELECT FROM image_index WHERE {_where(shape)} LIMIT ?" for shape in shapes)
    return _number("SELECT " + ", ".join(f"(SELECT count(*) FROM ({each}) AS entries)" for each in entries))  # noqa: S608 no user input


def _number(statement: str) -> str:
    """Replace each ? by $1, $2 and so on."""
    numbers = count(1)
    return re.sub(r"\?", lambda _: f"${next(numbers)}", statement)


def _scan_statement(shape: Shape) -> str:
    """Return the query of a scan.

    ORDER BY changed OFFSET 0 makes PostgreSQL find the changes by their index, and then sort them. Without it, the
    planner may read the whole list in the order of the page.

    Scans for changes, and filtered scans in the order of the list, have a condition on `tableoid`. It is always true,
    but no index holds this system column, so it rules out index-only scans. Otherwise, PostgreSQL would read a whole
    index that holds all columns, instead of looking up the other columns of the entries that the intended index finds.
    """
    conditions = _where(shape)
    finds_changes = shape.driving is not None and shape.driving[0] == "changed"
    if finds_changes or (shape.others and not shape.driving):
        conditions += " AND tableoid <> 0"
    entries = f"SELECT created, sort_key FROM image_index WHERE {conditions}"  # noqa: S608 no user input
    if finds_changes:
        entries = f"SELECT * FROM ({entries} ORDER BY changed OFFSET 0) AS entries"  # noqa: S608 no user input
    return f"({entries} ORDER BY created DESC, sort_key DESC LIMIT {{size}})"


def _where(shape: Shape) -> str:
    """Return the conditions of a scan. IS TRUE keeps PostgreSQL from using an index for a condition."""
    return shape.where(other="({}) IS TRUE")


_queries = IndexQueries(_term, _page_statement, _count_statement)
page_query, count_query = _queries.page, _queries.count
