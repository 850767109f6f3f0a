"""The queries of pages: from the scans of a plan, SQL and the values of its parameters."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from app.catalog.listing import EVERYONE, Condition, IndexScan, Probe

_Term = tuple[str, str]  # a column, and the operator and parameters of its condition
# Of a scan: whether its audience is everyone; its driving term; the others; and whether it continues.
_Shape = tuple[bool, _Term | None, tuple[_Term, ...], bool]

# Part of the statement, so that no other one has to look up the audience first. Everyone has the number 0.
_AUDIENCE, _EVERYONE = "audience = (SELECT id FROM audiences WHERE project_id = ?)", "audience = 0"
# SQLite merges the scans lazily, so none goes further than the page needs. One scan with an OR for its partitions would
# sort all entries that match.
# The + before a parameter of LIMIT keeps SQLite from preparing the statement anew for each number.
# The result is one text, in the order of the subquery. Reading a thousand rows would take twice as long, 0.26 ms.
_PAGE = "SELECT group_concat(-sort_key) FROM ({scans} ORDER BY created DESC, sort_key DESC LIMIT +?) AS page"


def page_query(scans: Sequence[IndexScan], size: int) -> tuple[str, list[Any]]:
    """Return the query of the first images that the scans find, merged in the order of the list, and its values."""
    values: list[Any] = []
    statement = _page_statement(tuple([_shape(scan, values) for scan in scans]))
    return statement, [*values, size]


def count_query(probes: Sequence[Probe]) -> tuple[str, list[Any]]:
    """Return a query that counts the entries of all probes, and its values. Its result is one row."""
    values: list[Any] = []
    shapes = []
    for partition, condition, at_most in probes:
        shapes.append(_shape(IndexScan(partition, condition, (), None), values))
        values.append(at_most)
    return _count_statement(tuple(shapes)), values


def _shape(scan: IndexScan, values: list[Any]) -> _Shape:
    """Return the shape of a scan, and append the values of its parameters."""
    audience, deleted = scan.partition
    values += [deleted] if audience == EVERYONE else [audience, deleted]
    driving = scan.driving and _term(scan.driving, values)
    others = tuple([_term(condition, values) for condition in scan.others])
    values += scan.after or ()
    return audience == EVERYONE, driving, others, scan.after is not None


def _term(condition: Condition, values: list[Any]) -> _Term:
    if isinstance(condition.value, tuple):
        values += condition.value
        return condition.column, f"IN ({', '.join('?' * len(condition.value))})"
    values.append(condition.value)
    return condition.column, ">= ?" if condition.is_minimum else "= ?"


@lru_cache(maxsize=1024)
def _count_statement(shapes: tuple[_Shape, ...]) -> str:
    counts = (f"(SELECT count(*) FROM (SELECT 1 {_from_clause(shape)} LIMIT +?) AS matches)" for shape in shapes)  # noqa: S608 no user input
    return f"SELECT {', '.join(counts)}"


@lru_cache(maxsize=1024)
def _page_statement(shapes: tuple[_Shape, ...]) -> str:
    scans = (f"SELECT created, sort_key {_from_clause(shape)}" for shape in shapes)
    return _PAGE.format(scans=" UNION ALL ".join(scans))


def _from_clause(shape: _Shape) -> str:
    """Return the FROM clause of a scan.

    SQLite has no statistics of this table and would have to guess, so INDEXED BY names the index. It cannot name the
    primary key; there, a + before the other columns keeps SQLite from using their indexes.
    """
    is_everyone, driving, others, is_continued = shape
    index, terms = "", [_EVERYONE if is_everyone else _AUDIENCE, "deleted = ?"]
    if driving:
        column, operator = driving
        index = f"INDEXED BY image_index_by_{'change' if column == 'changed' else column} "
        terms.append(f"{column} {operator}")
        if column in {"min_disk", "min_ram"}:
            terms.append(f"{column} <> 0")  # as the partial index requires
    terms += [f"+{column} {operator}" for column, operator in others]
    if is_continued:
        terms.append("(created, sort_key) < (?, ?)")
    return f"FROM image_index {index}WHERE {' AND '.join(terms)}"
