"""The queries of pages: from the scans of a plan, SQL and the values of its parameters."""

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import count
from typing import Any

from app.catalog.listing import EVERYONE, Condition, IndexScan, Probe
from app.catalog.postgresql.schema import text_hash

_Term = tuple[str, str]  # a column, and the operator and parameters of its condition
# Of a scan: whether its audience is everyone; its driving term; the others; and whether it continues.
_Shape = tuple[bool, _Term | None, tuple[_Term, ...], bool]

# Part of the statement, so that no other one has to look up the audience first. Everyone has the number 0.
_AUDIENCE, _EVERYONE = "audience = (SELECT id FROM audiences WHERE project_id = %s)", "audience = 0"
# Each scan has its own ORDER BY and LIMIT; otherwise, PostgreSQL would read and sort all entries that match. The
# result is a single row, because reading a thousand rows takes longer.
_PAGE = """
SELECT (SELECT version FROM catalog),
       array(SELECT -sort_key FROM ({scans}) AS scans ORDER BY created DESC, sort_key DESC LIMIT %s)
"""


def page_query(scans: Sequence[IndexScan], size: int) -> tuple[str, list[Any]]:
    """Return the query of the first images that the scans find, merged in the order of the list, and its values."""
    values: list[Any] = []
    shapes = []
    for scan in scans:
        shapes.append(_shape(scan, values))
        values.append(size)
    return _page_statement(tuple(shapes)), [*values, size]


def count_query(probes: Sequence[Probe]) -> tuple[str, list[Any]]:
    """Return a query that counts the entries of all probes, and its values. Its result is one row."""
    values: list[Any] = []
    shapes = []
    for partition, condition, at_most in probes:
        shapes.append(_shape(IndexScan(partition, condition, (), None), values))
        values.append(at_most)
    return _count_statement(tuple(shapes)), values


def _shape(scan: IndexScan, values: list[Any]) -> _Shape:
    """Return the shape of a scan, and append the values of its parameters to `values`."""
    audience, deleted = scan.partition
    values += [deleted] if audience == EVERYONE else [None if "\0" in audience else audience, deleted]
    driving = scan.driving and _term(scan.driving, values)
    others = tuple([_term(condition, values) for condition in scan.others])
    values += scan.after or ()
    return audience == EVERYONE, driving, others, scan.after is not None


def _term(condition: Condition, values: list[Any]) -> _Term:
    column, is_list = condition.column, isinstance(condition.value, tuple)
    parameters: list[Any] = list(condition.value) if isinstance(condition.value, tuple) else [condition.value]
    if column in {"name", "server"}:
        column, parameters = f"{column}_hash", list(map(text_hash, parameters))
    values += [parameters] if is_list else parameters
    return column, "= ANY(%s)" if is_list else ">= %s" if condition.is_minimum else "= %s"


@lru_cache(maxsize=1024)
def _count_statement(shapes: tuple[_Shape, ...]) -> str:
    entries = (f"SELECT FROM image_index WHERE {_where_clause(shape)} LIMIT %s" for shape in shapes)
    return _number("SELECT " + ", ".join(f"(SELECT count(*) FROM ({each}) AS entries)" for each in entries))  # noqa: S608 no user input


@lru_cache(maxsize=1024)
def _page_statement(shapes: tuple[_Shape, ...]) -> str:
    return _number(_PAGE.format(scans=" UNION ALL ".join(map(_scan_statement, shapes))))


def _number(statement: str) -> str:
    """Replace each %s by $1, $2 and so on."""
    numbers = count(1)
    return re.sub("%s", lambda _: f"${next(numbers)}", statement)


def _scan_statement(shape: _Shape) -> str:
    """Return the query of a scan.

    ORDER BY changed OFFSET 0 makes PostgreSQL find the changes by their index, and then sort them. Without it, the
    planner may read the whole list in the order of the page.

    Scans for changes, and filtered scans in the order of the list, have a condition on `tableoid`. It is always true,
    but no index holds this system column, so it rules out index-only scans. Otherwise, PostgreSQL would read a whole
    index that holds all columns, instead of looking up the other columns of the entries that the intended index finds.
    """
    _, driving, others, _ = shape
    terms = _where_clause(shape)
    if _finds_changes(shape) or (others and not driving):
        terms += " AND tableoid <> 0"
    entries = f"SELECT created, sort_key FROM image_index WHERE {terms}"  # noqa: S608 no user input
    if _finds_changes(shape):
        entries = f"SELECT * FROM ({entries} ORDER BY changed OFFSET 0) AS entries"  # noqa: S608 no user input
    return f"({entries} ORDER BY created DESC, sort_key DESC LIMIT %s)"


def _where_clause(shape: _Shape) -> str:
    """Return the conditions of a scan. IS TRUE keeps PostgreSQL from using an index for a condition."""
    is_everyone, driving, others, is_continued = shape
    terms = [_EVERYONE if is_everyone else _AUDIENCE, "deleted = %s"]
    if driving:
        column, condition = driving
        terms.append(f"{column} {condition}")
        if column in {"min_disk", "min_ram"}:
            terms.append(f"{column} <> 0")  # as the partial index requires
    terms += [f"({column} {condition}) IS TRUE" for column, condition in others]
    if is_continued:
        terms.append("(created, sort_key) < (%s, %s)")
    return " AND ".join(terms)


def _finds_changes(shape: _Shape) -> bool:
    _, driving, _, _ = shape
    return driving is not None and driving[0] == "changed"
