"""PostgreSQL's query plans for lists: pages are read along indexes, never by scanning or sorting a table.

The plans are the same for an empty catalog and for one whose statistics suggest scanning the table.
"""

from collections.abc import Iterator
from typing import Any

import pytest
from psycopg import sql

from app.catalog.engine import SchemaState
from app.catalog.listing import plan_scans
from app.catalog.models import ImageFilters
from app.catalog.postgresql.database import Connection, connect
from app.catalog.postgresql.migrations import migrate
from app.catalog.postgresql.reader import PostgreSQLSnapshot
from app.catalog.postgresql.statements import Row
from app.catalog.postgresql.url import parse_url
from app.catalog.postgresql.writer import PostgreSQLTransaction
from tests.support.images import Fields, image, image_id, stored_images
from tests.support.postgresql import Cluster
from tests.support.projects import PROJECT

pytestmark = pytest.mark.external

# Which index a page uses, and which columns of it the query constrains, within a partition.
BY_INDEX: list[tuple[Fields, str, str]] = [
    ({}, "image_index_pkey", ""),
    ({"min_ram": 0, "min_disk": 0}, "image_index_pkey", ""),
    ({"server": "s"}, "image_index_by_server", "server_hash ="),
    ({"name": "a"}, "image_index_by_name", "name_hash ="),
    ({"status": "ACTIVE"}, "image_index_by_status_type", "status_type ="),
    ({"status": "DELETED"}, "image_index_by_status_type", "status_type ="),
    ({"type_": "SERVER"}, "image_index_by_status_type", "status_type ="),
    ({"min_ram": 512}, "image_index_by_min_ram", "min_ram ="),
    ({"min_disk": 20}, "image_index_by_min_disk", "min_disk ="),
]
# If all filters find many entries, the first of their indexes is used. It holds the columns of those that follow.
BY_PREFERENCE: list[tuple[str, Fields]] = [
    ("image_index_by_server", {"server": "s"}),
    ("image_index_by_name", {"name": "a"}),
    ("image_index_by_min_ram", {"min_ram": 512}),
    ("image_index_by_min_disk", {"min_disk": 20}),
    ("image_index_by_status_type", {"status": "ACTIVE", "type_": "SERVER"}),
]
AUDIENCES = {("Index Scan", "audiences_project_id_key")}
INDEX_SCANS = ("Index Scan", "Index Only Scan")
OTHERS: list[Fields] = [{}, {"name": "a"}, {"status": "ACTIVE", "type_": "SERVER"}, {"server": "s", "min_ram": 512}]


class ExplainingSnapshot(PostgreSQLSnapshot):
    """Records the plan of each query of the image index."""

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection)
        self.plans: list[Fields] = []

    def _query(self, statement: str, *values: Any) -> list[Row]:
        if "image_index" in statement:
            self._connection.execute(b"PREPARE explained AS " + statement.encode())
            literals = sql.SQL(", ").join(map(sql.Literal, values))
            explain = sql.SQL("EXPLAIN (FORMAT JSON) EXECUTE explained ({})").format(literals)
            self.plans.append(self._connection.execute(explain).fetchall()[0][0][0]["Plan"])
            self._connection.execute("DEALLOCATE explained")
        return super()._query(statement, *values)


@pytest.fixture(scope="module", params=["empty", "one name", "many names"])
def snapshot(request: pytest.FixtureRequest, postgresql: Cluster) -> Iterator[ExplainingSnapshot]:
    fields = {"empty": [], "one name": [{"name": "a"}] * 300, "many names": [{"name": str(n)} for n in range(10_000)]}
    with connect(parse_url(postgresql.url(postgresql.create_database()))) as connection:
        migrate(connection)
        connection.execute("BEGIN")
        own: Fields = {"owner": PROJECT, "visibility": "private", "metadata": {"instance_uuid": "s"}}
        images = [image(number, minRam=512, **own, **each) for number, each in enumerate(fields[request.param])]
        images += [
            image(20_000, name="a", minRam=512, updated="2999-06-01T00:00:00Z", **own),
            image(20_001, status="DELETED"),
        ]
        PostgreSQLTransaction(connection, state_before=SchemaState.EMPTY).upsert_images(stored_images(*images))
        connection.execute("COMMIT")
        connection.execute("VACUUM ANALYZE")
        # Suggest index-only scans to the planner: a vacuum marks pages as visible only after the commit was flushed.
        connection.execute("UPDATE pg_class SET relallvisible = relpages WHERE relname = 'image_index'")
        yield ExplainingSnapshot(connection)


def plans(snapshot: ExplainingSnapshot, filters: Fields, *, probe_limit: int | None = None) -> list[Fields]:
    """Read a page, and return the plan of each query of the image index."""
    snapshot.plans.clear()
    scans = plan_scans(snapshot, PROJECT, ImageFilters(**filters), 21, probe_limit=probe_limit)
    snapshot.find_page(scans, 21)
    return snapshot.plans


def nodes(plan: Fields) -> Iterator[Fields]:
    """Yield the nodes of a plan, without the one that reads the version from the only row of its table."""
    if plan.get("Relation Name") != "catalog":
        yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


def scans(plan: Fields) -> list[tuple[str, str]]:
    """Return the index and the condition of each scan of the image index."""
    return [
        (each["Index Name"], each["Index Cond"]) for each in nodes(plan) if each.get("Relation Name") == "image_index"
    ]


@pytest.mark.parametrize("marker", [None, image_id(20_000)])
@pytest.mark.parametrize(("filters", "index", "condition"), BY_INDEX)
def test_page_is_read_along_the_index_of_its_filter(
    snapshot: ExplainingSnapshot, filters: Fields, index: str, condition: str, marker: str | None
) -> None:
    page = plans(snapshot, {**filters, "marker": marker})[-1]
    after = ["ROW(created, sort_key) <"] if marker else []
    assert scans(page)
    for used, constrained in scans(page):
        assert used == index
        assert all(each in constrained for each in ["audience =", "deleted =", condition, *after])
    assert {each["Node Type"] for each in nodes(page)} <= {
        *("Result", "Limit", "Merge Append", "Subquery Scan", *INDEX_SCANS),
    }


@pytest.mark.parametrize("number", range(len(BY_PREFERENCE)))
def test_filters_that_all_find_many_entries_are_met_by_an_index_only_scan(
    snapshot: ExplainingSnapshot, number: int
) -> None:
    filters = {name: value for each in BY_PREFERENCE[number:] for name, value in each[1].items()}
    page = plans(snapshot, {**filters, "changes_since": "2019-01-01T00:00:00Z"}, probe_limit=0)[-1]
    used = {(each["Node Type"], each.get("Index Name")) for each in nodes(page) if "Index Cond" in each}
    assert used - AUDIENCES == {("Index Only Scan", BY_PREFERENCE[number][0])}


@pytest.mark.parametrize("marker", [None, image_id(20_000)])
@pytest.mark.parametrize("filters", OTHERS)
def test_few_changes_are_sorted_and_nothing_else(
    snapshot: ExplainingSnapshot, filters: Fields, marker: str | None
) -> None:
    page = plans(snapshot, {**filters, "changes_since": "2999-01-01T00:00:00Z", "marker": marker})[-1]
    assert {index for index, _ in scans(page)} == {"image_index_by_change"}
    assert all("changed >=" in condition for _, condition in scans(page))
    assert "Seq Scan" not in {each["Node Type"] for each in nodes(page)}


@pytest.mark.parametrize("filters", OTHERS)
def test_matches_are_counted_in_the_index_of_their_filter(snapshot: ExplainingSnapshot, filters: Fields) -> None:
    for count_plan in plans(snapshot, {**filters, "changes_since": "2019-01-01T00:00:00Z"})[:-1]:
        assert "image_index_pkey" not in dict(scans(count_plan))
        assert scans(count_plan)
        assert {each["Node Type"] for each in nodes(count_plan)} <= {"Aggregate", "Limit", "Result", *INDEX_SCANS}
