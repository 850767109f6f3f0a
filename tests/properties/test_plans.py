"""How SQLite goes about what `Catalog.find` asks of it, as it says itself: along indexes, never through all."""

from collections.abc import Iterator
from itertools import combinations, groupby
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from app.catalog.models import ImageFilters
from app.catalog.sqlite import listing as search
from app.catalog.sqlite.reader import CatalogReader
from tests.support.generator import TENANTS

Filters = dict[str, Any]  # of a Query

TENANT = TENANTS[0]
SINCE: Filters = {"changes_since": "2020-01-01T00:00:00Z"}
# By which index the images of one list are found for a filter, and by which of its columns.
BY_INDEX: list[tuple[Filters, str, str]] = [
    ({}, "PRIMARY KEY", "audience=? AND deleted=?"),
    ({"type_": "ALL"}, "PRIMARY KEY", "audience=? AND deleted=?"),
    ({"server": "web%201"}, "INDEX listings_by_server", "audience=? AND deleted=? AND server=?"),
    ({"name": "100%"}, "INDEX listings_by_name", "audience=? AND deleted=? AND name=?"),
    ({"status": "ACTIVE"}, "INDEX listings_by_kind", "audience=? AND kind=?"),
    ({"status": "DELETED"}, "INDEX listings_by_kind", "audience=? AND kind=?"),
    ({"type_": "BASE"}, "INDEX listings_by_kind", "audience=? AND kind=?"),
    ({"type_": "SERVER"}, "INDEX listings_by_kind", "audience=? AND kind=?"),
    ({"type_": "snapshot"}, "INDEX listings_by_kind", "audience=? AND kind=?"),
    ({"min_ram": 512}, "INDEX listings_by_min_ram", "audience=? AND deleted=? AND min_ram=?"),
    ({"min_disk": 20}, "INDEX listings_by_min_disk", "audience=? AND deleted=? AND min_disk=?"),
    ({"min_ram": 0, "min_disk": 0}, "PRIMARY KEY", "audience=? AND deleted=?"),
    ({"status": "ERROR", "type_": "backup"}, "INDEX listings_by_kind", "audience=? AND kind=?"),
]
FILTERS = [SINCE, *(filters for filters, _, _ in BY_INDEX[2:])]
PAIRS: list[Filters] = [one | other for one, other in combinations(FILTERS, 2) if not one.keys() & other.keys()]
ALL: Filters = {**SINCE, "server": "web%201", "name": "100%", "status": "ACTIVE", "type_": "snapshot", "min_ram": 512}
COMBINATIONS: list[Filters] = [{}, *FILTERS, *PAIRS, ALL]

each_filter = pytest.mark.parametrize(
    ("filters", "index", "key"), BY_INDEX, ids=[urlencode(each) or "none" for each, _, _ in BY_INDEX]
)
each_combination = pytest.mark.parametrize(
    "filters", COMBINATIONS, ids=[urlencode(each) or "none" for each in COMBINATIONS]
)

SORT = "USE TEMP B-TREE FOR ORDER BY"

Step = tuple[int, int, str]  # its id, its parent's, what is done


@pytest.fixture
def catalog(crowded_catalog: Path) -> Iterator[CatalogReader]:
    catalog = CatalogReader(crowded_catalog)
    yield catalog
    catalog._connection().close()


@pytest.fixture
def marker(catalog: CatalogReader) -> str:
    return catalog.find(TENANT, ImageFilters(), at_most=10).images[-1].id


def plans(catalog: CatalogReader, query: ImageFilters) -> list[list[Step]]:
    """Have a page found, and ask SQLite for the plan of each statement that found it."""
    executed: list[str] = []
    connection = catalog._connection()
    connection.set_trace_callback(executed.append)
    catalog.find(TENANT, query, at_most=10)
    connection.set_trace_callback(None)
    rows = [connection.execute(f"EXPLAIN QUERY PLAN {sql}").fetchall() for sql in executed if "SELECT" in sql]
    return [[(step, parent, detail) for step, parent, _, detail in plan] for plan in rows]


def walks(catalog: CatalogReader, query: ImageFilters) -> list[list[str]]:
    """Give the steps of each walk of a page: the ends of its plan's tree, gathered by where they hang."""
    plan = plans(catalog, query)[-1]
    parents = {parent for _, parent, _ in plan}
    details = [(step, parent, detail.replace("COVERING INDEX", "INDEX")) for step, parent, detail in plan]
    ends = [each for each in details if each[0] not in parents and each[1] != 0]
    return [[detail for _, _, detail in walk] for _, walk in groupby(ends, key=lambda step: step[1])]


@each_filter
def test_images_are_found_by_the_filters_own_index_already_sorted(
    catalog: CatalogReader, filters: Filters, index: str, key: str
) -> None:
    found = walks(catalog, ImageFilters(**filters))
    assert found == [[f"SEARCH listings USING {index} ({key})"]] * len(found)
    assert len(found) >= 2  # at least one for each audience


@each_filter
def test_a_further_page_begins_in_the_index_where_the_last_one_ended(
    catalog: CatalogReader, marker: str, filters: Filters, index: str, key: str
) -> None:
    found = walks(catalog, ImageFilters(**filters, marker=marker))
    assert found == [[f"SEARCH listings USING {index} ({key} AND (created,rank)<(?,?))"]] * len(found)
    assert len(found) >= 2


@each_combination
def test_walks_are_merged_as_they_go(catalog: CatalogReader, filters: Filters) -> None:
    plan = plans(catalog, ImageFilters(**filters))[-1]
    parents = {parent for _, parent, _ in plan}
    done_with_walks = {detail for step, _, detail in plan if step in parents} - {"LEFT", "RIGHT", "CO-ROUTINE page"}
    assert done_with_walks == {"MERGE (UNION ALL)"}


def test_no_list_is_searched_twice_nor_one_that_cannot_have_what_is_asked_for(catalog: CatalogReader) -> None:
    assert len(walks(catalog, ImageFilters())) == 2  # what everyone has, and what the tenant has
    assert len(walks(catalog, ImageFilters(**SINCE))) == 4  # their tombstones too
    assert len(walks(catalog, ImageFilters(status="DELETED", name="100%"))) == 2
    assert len(walks(catalog, ImageFilters(status="ERROR", type_="backup"))) == 2  # one kind
    assert len(walks(catalog, ImageFilters(status="ERROR"))) == 8  # of each type


def test_few_changes_are_read_and_sorted(catalog: CatalogReader, marker: str) -> None:
    search = "SEARCH listings USING INDEX listings_by_change (audience=? AND deleted=? AND changed>?)"
    late = "2025-06-01T00:00:00Z"
    for query in (ImageFilters(changes_since=late), ImageFilters(changes_since=late, marker=marker)):
        assert walks(catalog, query) == [[search, SORT]] * 4


def test_many_changes_are_met_on_a_walk_in_the_order_of_the_answer(
    catalog: CatalogReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "_PROBE_LIMIT", 10)
    monkeypatch.setattr(search, "_PROBE_LIMIT_PAGES", 1)
    expected = [["SEARCH listings USING PRIMARY KEY (audience=? AND deleted=?)"]] * 4
    assert walks(catalog, ImageFilters(**SINCE)) == expected


@each_combination
def test_nothing_is_read_through(catalog: CatalogReader, marker: str, filters: Filters) -> None:
    steps = [step for plan in plans(catalog, ImageFilters(**filters, marker=marker)) for _, _, step in plan]
    small = {"SCAN json_each VIRTUAL TABLE INDEX 1:", "SCAN kinds", "SCAN page", "SCAN (subquery-1)"}
    assert {step for step in steps if step.startswith("SCAN")} <= small


def test_a_marker_is_found_by_its_id(catalog: CatalogReader, marker: str) -> None:
    steps = [plan[0][2] for plan in plans(catalog, ImageFilters(marker=marker))]
    assert steps[1] == "SEARCH images USING INDEX sqlite_autoindex_images_1 (id=?)"


NARROWER: list[tuple[Filters, Filters, str]] = [
    # What finds fewer, what finds more, and which index leads.
    ({"name": "100%"}, {"status": "ACTIVE"}, "listings_by_name"),
    ({"name": "100%"}, {"type_": "BASE"}, "listings_by_name"),
    ({"name": "nobody's"}, {"server": "web%201"}, "listings_by_name"),
    ({"server": "web%201"}, {"type_": "snapshot"}, "listings_by_server"),
    ({"server": "nobody's"}, {"name": "100%"}, "listings_by_server"),
    ({"server": "web%201"}, SINCE, "listings_by_server"),
    ({"status": "ERROR", "type_": "backup"}, {"name": "ubuntu-14.04"}, "listings_by_kind"),
    ({"status": "ERROR", "type_": "backup"}, SINCE, "listings_by_kind"),
    ({"changes_since": "2100-01-01T00:00:00Z"}, {"name": "100%", "status": "ACTIVE"}, "listings_by_change"),
    ({"changes_since": "2100-01-01T00:00:00Z"}, {"server": "web%201"}, "listings_by_change"),
]


@pytest.mark.parametrize(("narrow", "broad", "index"), NARROWER)
def test_of_several_filters_the_one_that_finds_the_fewest_leads(
    catalog: CatalogReader, narrow: Filters, broad: Filters, index: str
) -> None:
    found = walks(catalog, ImageFilters(**broad, **narrow))
    assert {walk[0].split(" (")[0] for walk in found} == {f"SEARCH listings USING INDEX {index}"}


def test_where_all_find_many_one_leads_that_has_the_order_of_the_answer(
    catalog: CatalogReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "_PROBE_LIMIT", 1)
    monkeypatch.setattr(search, "_PROBE_LIMIT_PAGES", 0)
    for walk in walks(catalog, ImageFilters(**SINCE, name="ubuntu-14.04", status="ACTIVE")):
        assert walk == ["SEARCH listings USING INDEX listings_by_name (audience=? AND deleted=? AND name=?)"]
