"""Queries of the image index: the SQL that all engines share, and the values of its parameters."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from app.catalog.listing import EVERYONE, Condition, IndexScan, Probe

Term = tuple[str, str]  # a column, and the operator and parameters of its condition
Query = tuple[str, list[Any]]  # SQL, and the values of its parameters

# A subquery, so that no separate query has to look up the id of the audience. The id of everyone is 0.
_AUDIENCE, _EVERYONE = "audience = (SELECT id FROM audiences WHERE project_id = ?)", "audience = 0"


class Shape(NamedTuple):
    """Everything that the SQL of a scan depends on. Its parameters are written as ?."""

    is_everyone: bool  # whether everyone is the audience
    driving: Term | None
    others: tuple[Term, ...]
    is_continued: bool

    def where(self, other: str) -> str:
        """Return the conditions. `other` is the format of conditions that must not use an index."""
        conditions = [_EVERYONE if self.is_everyone else _AUDIENCE, "deleted = ?"]
        if self.driving:
            column, operator = self.driving
            conditions.append(f"{column} {operator}")
            if column in {"min_disk", "min_ram"}:
                conditions.append(f"{column} <> 0")  # as the partial index requires
        conditions += [other.format(" ".join(term)) for term in self.others]
        if self.is_continued:
            conditions.append("(created, sort_key) < (?, ?)")
        return " AND ".join(conditions)


class IndexQueries:
    """Builds the queries of an engine. The SQL of each combination of shapes is cached."""

    def __init__(
        self,
        term: Callable[[Condition, list[Any]], Term],
        page_statement: Callable[[Sequence[Shape]], str],
        count_statement: Callable[[Sequence[Shape]], str],
    ) -> None:
        """Set the functions that build SQL. `term` also appends the values of its parameters to the list."""
        self._term = term
        self._page_statement = lru_cache(maxsize=1024)(page_statement)
        self._count_statement = lru_cache(maxsize=1024)(count_statement)

    def page(self, scans: Sequence[IndexScan], size: int) -> Query:
        """Return the query of the first images that the scans find, merged in the order of the list."""
        values: list[Any] = []
        statement = self._page_statement(tuple([self._shape(scan, values) for scan in scans]))
        values.append(size)
        return statement, values

    def count(self, probes: Sequence[Probe]) -> Query:
        """Return a query that counts the entries of all probes. Its result is one row."""
        values: list[Any] = []
        shapes = []
        for partition, condition, at_most in probes:
            shapes.append(self._shape(IndexScan(partition, condition, (), None), values))
            values.append(at_most)
        return self._count_statement(tuple(shapes)), values

    def _shape(self, scan: IndexScan, values: list[Any]) -> Shape:
        """Return the shape of a scan, and append the values of its parameters."""
        audience, deleted = scan.partition
        # PostgreSQL cannot compare with text that contains NUL. No project id contains it.
        values += [deleted] if audience == EVERYONE else [None if "\0" in audience else audience, deleted]
        driving = scan.driving and self._term(scan.driving, values)
        others = tuple([self._term(condition, values) for condition in scan.others])
        values += scan.after or ()
        return Shape(audience == EVERYONE, driving, others, scan.after is not None)
