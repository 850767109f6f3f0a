"""How SQLite goes about what `Catalog.find` asks of it, as it says itself: along indexes, never through all."""

from collections.abc import Iterator
from itertools import combinations, groupby
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from app.catalog import Catalog, Query, find
from tests.generator import TENANTS

Filters = dict[str, Any]  # of a Query

TENANT = TENANTS[0]
SINCE: Filters = {"changes_since": "2020-01-01T00:00:00Z"}
# By which index the images of one audience are found for a filter, and by which of its columns.
BY_INDEX: list[tuple[Filters, str, str]] = [
    ({}, "PRIMARY KEY", "audience=?"),
    ({"type_": "ALL"}, "PRIMARY KEY", "audience=?"),
    ({"server": "web%201"}, "INDEX listings_by_server", "audience=? AND server=?"),
    ({"name": "100%"}, "INDEX listings_by_name", "audience=? AND name=?"),
    ({"status": "ACTIVE"}, "INDEX listings_by_status", "audience=? AND status=?"),
    ({"status": "DELETED"}, "INDEX listings_by_status", "audience=? AND status=?"),
    ({"type_": "BASE"}, "INDEX listings_by_origin", "audience=? AND origin=?"),
    ({"type_": "SERVER"}, "INDEX listings_by_origin", "audience=? AND origin=?"),
    ({"type_": "snapshot"}, "INDEX listings_by_type", "audience=? AND image_type=?"),
    ({"type_": "backup"}, "INDEX listings_by_type", "audience=? AND image_type=?"),
]
FILTERS = [SINCE, *(filters for filters, _, _ in BY_INDEX[2:])]
PAIRS: list[Filters] = [one | other for one, other in combinations(FILTERS, 2) if not one.keys() & other.keys()]
ALL: Filters = {**SINCE, "server": "web%201", "name": "100%", "status": "ACTIVE", "type_": "snapshot"}
COMBINATIONS: list[Filters] = [{}, *FILTERS, *PAIRS, ALL]

each_filter = pytest.mark.parametrize(
    ("filters", "index", "key"), BY_INDEX, ids=[urlencode(each) or "none" for each, _, _ in BY_INDEX]
)
each_combination = pytest.mark.parametrize(
    "filters", COMBINATIONS, ids=[urlencode(each) or "none" for each in COMBINATIONS]
)

WHOSE = "SEARCH audiences USING INDEX sqlite_autoindex_audiences_1 (tenant=?)"
SORT = "USE TEMP B-TREE FOR ORDER BY"

Step = tuple[int, int, str]  # its id, its parent's, what is done


@pytest.fixture
def catalog(crowded_catalog: Path) -> Iterator[Catalog]:
    catalog = Catalog(crowded_catalog)
    yield catalog
    catalog._connection().close()


@pytest.fixture
def marker(catalog: Catalog) -> str:
    return catalog.find(TENANT, Query(), at_most=10).images[-1].id


def plans(catalog: Catalog, query: Query) -> list[list[Step]]:
    """Have a page found, and ask SQLite for the plan of each statement that found it."""
    executed: list[str] = []
    connection = catalog._connection()
    connection.set_trace_callback(executed.append)
    catalog.find(TENANT, query, at_most=10)
    connection.set_trace_callback(None)
    rows = [connection.execute(f"EXPLAIN QUERY PLAN {sql}").fetchall() for sql in executed if "count(*)" not in sql]
    return [[(step, parent, detail) for step, parent, _, detail in plan] for plan in rows]


def walks(plan: list[Step]) -> list[list[str]]:
    """Give the steps of each walk: the ends of the tree below its root, gathered by where they hang."""
    parents = {parent for _, parent, _ in plan}
    details = [(step, parent, detail.replace("COVERING INDEX", "INDEX")) for step, parent, detail in plan]
    ends = [each for each in details if each[0] not in parents and each[1] != 0 and each[2] != WHOSE]
    return [[detail for _, _, detail in walk] for _, walk in groupby(ends, key=lambda step: step[1])]


def merges(plan: list[Step]) -> list[str]:
    """Give what is done with the walks."""
    parents = {parent for _, parent, _ in plan}
    return [detail for step, _, detail in plan if step in parents and detail.startswith("MERGE")]


@each_combination
def test_a_page_is_merged_from_two_walks_as_they_go(catalog: Catalog, filters: Filters) -> None:
    (plan,) = plans(catalog, Query(**filters))
    assert merges(plan) == ["MERGE (UNION ALL)"]
    assert len(walks(plan)) == 2


@each_filter
def test_images_are_found_by_the_filters_own_index_already_sorted(
    catalog: Catalog, filters: Filters, index: str, key: str
) -> None:
    (plan,) = plans(catalog, Query(**filters))
    assert walks(plan) == [[f"SEARCH listings USING {index} ({key})"]] * 2


@each_filter
def test_a_further_page_begins_in_the_index_where_the_last_one_ended(
    catalog: Catalog, marker: str, filters: Filters, index: str, key: str
) -> None:
    _, plan = plans(catalog, Query(**filters, marker=marker))
    key = f"{key} AND (created,rank)<(?,?)"
    assert walks(plan) == [[f"SEARCH listings USING {index} ({key})"]] * 2


def test_few_changes_are_read_and_sorted(catalog: Catalog, marker: str) -> None:
    search = "SEARCH listings USING INDEX listings_by_change (audience=? AND updated>?)"
    for query in (Query(**SINCE), Query(**SINCE, marker=marker)):
        assert walks(plans(catalog, query)[-1]) == [[search, SORT]] * 2


def test_many_changes_are_met_on_a_walk_in_the_order_of_the_answer(
    catalog: Catalog, marker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(find, "_FEW", 10)
    assert walks(plans(catalog, Query(**SINCE))[-1]) == [["SEARCH listings USING PRIMARY KEY (audience=?)"]] * 2


@each_combination
def test_nothing_is_read_through(catalog: Catalog, marker: str, filters: Filters) -> None:
    steps = [step for plan in plans(catalog, Query(**filters, marker=marker)) for _, _, step in plan]
    members_of_the_marker = "SCAN json_each VIRTUAL TABLE INDEX 1:"
    assert [step for step in steps if step.startswith("SCAN")] == [members_of_the_marker, "SCAN page"]


def test_a_marker_is_found_by_its_id(catalog: Catalog, marker: str) -> None:
    plan, _ = plans(catalog, Query(marker=marker))
    assert plan[0][2] == "SEARCH images USING INDEX sqlite_autoindex_images_1 (id=?)"


@pytest.mark.parametrize("broad", [{"status": "ACTIVE"}, {"type_": "BASE"}, {"type_": "snapshot"}])
@pytest.mark.parametrize(
    ("narrow", "index"), [({"name": "x"}, "listings_by_name"), ({"server": "x"}, "listings_by_server")]
)
def test_of_two_filters_the_one_that_finds_less_leads(
    catalog: Catalog, broad: dict[str, str], narrow: dict[str, str], index: str
) -> None:
    (plan,) = plans(catalog, Query(**broad, **narrow))  # type: ignore[arg-type]
    assert [walk[0].split(" (")[0] for walk in walks(plan)] == [f"SEARCH listings USING INDEX {index}"] * 2
