"""SQLite's query plans for lists: pages are read along indexes, never by scanning or sorting a table."""

from itertools import combinations, groupby
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from app.catalog.image_parts import PartStore
from app.catalog.models import ImageFilters
from app.catalog.reader import CatalogReader
from app.catalog.sqlite.engine import SQLiteEngine
from tests.support.catalogs import read_list, sqlite_only
from tests.support.generator import PROJECTS

Filters = dict[str, Any]  # arguments of ImageFilters

PROJECT = PROJECTS[0]
SINCE: Filters = {"changes_since": "2020-01-01T00:00:00Z"}
# Which index a filter uses within a partition, and which columns of the index it constrains.
BY_INDEX: list[tuple[Filters, str, str]] = [
    ({}, "PRIMARY KEY", "audience=? AND deleted=?"),
    ({"type_": "ALL"}, "PRIMARY KEY", "audience=? AND deleted=?"),
    ({"server": "web%201"}, "INDEX image_index_by_server", "audience=? AND deleted=? AND server=?"),
    ({"name": "100%"}, "INDEX image_index_by_name", "audience=? AND deleted=? AND name=?"),
    ({"status": "ACTIVE"}, "INDEX image_index_by_status_type", "audience=? AND status_type=?"),
    ({"status": "DELETED"}, "INDEX image_index_by_status_type", "audience=? AND status_type=?"),
    ({"type_": "BASE"}, "INDEX image_index_by_status_type", "audience=? AND status_type=?"),
    ({"type_": "SERVER"}, "INDEX image_index_by_status_type", "audience=? AND status_type=?"),
    ({"type_": "snapshot"}, "INDEX image_index_by_status_type", "audience=? AND status_type=?"),
    ({"min_ram": 512}, "INDEX image_index_by_min_ram", "audience=? AND deleted=? AND min_ram=?"),
    ({"min_disk": 20}, "INDEX image_index_by_min_disk", "audience=? AND deleted=? AND min_disk=?"),
    ({"min_ram": 0, "min_disk": 0}, "PRIMARY KEY", "audience=? AND deleted=?"),
    ({"status": "ERROR", "type_": "backup"}, "INDEX image_index_by_status_type", "audience=? AND status_type=?"),
]
FILTERS = [SINCE, *(filters for filters, _, _ in BY_INDEX[2:])]
PAIRS: list[Filters] = [one | other for one, other in combinations(FILTERS, 2) if not one.keys() & other.keys()]
STATES: Filters = {"status": "ACTIVE", "type_": "snapshot"}
ALL: Filters = {**SINCE, **STATES, "server": "web%201", "name": "100%", "min_ram": 512, "min_disk": 20}
COMBINATIONS: list[Filters] = [{}, *FILTERS, *PAIRS, ALL]

pytestmark = sqlite_only

each_filter = pytest.mark.parametrize(
    ("filters", "index", "key"), BY_INDEX, ids=[urlencode(each) or "none" for each, _, _ in BY_INDEX]
)
each_combination = pytest.mark.parametrize(
    "filters", COMBINATIONS, ids=[urlencode(each) or "none" for each in COMBINATIONS]
)

SORT = "USE TEMP B-TREE FOR ORDER BY"

Step = tuple[int, int, str]  # id, id of the parent, description


@pytest.fixture
def engine(crowded_catalog: str) -> SQLiteEngine:
    return SQLiteEngine(Path(crowded_catalog))


@pytest.fixture
def marker(engine: SQLiteEngine) -> str:
    return read_list(engine, limit=10)[-1].id


def plans(engine: SQLiteEngine, filters: Filters, *, probe_limit: int | None = None) -> dict[str, list[Step]]:
    """Read a page. Return the query plan of each statement that was executed, by statement, in order."""
    executed: list[str] = []
    connection = engine._connection()
    connection.set_trace_callback(executed.append)
    catalog = CatalogReader(engine, probe_limit=probe_limit)
    catalog.list_images(
        PROJECT, ImageFilters(**filters), PartStore(lambda images: [b"{}"] * len(images), max_bytes=0), max_images=10
    )
    connection.set_trace_callback(None)
    rows = {sql: connection.execute(f"EXPLAIN QUERY PLAN {sql}").fetchall() for sql in executed if "SELECT" in sql}
    return {sql: [(step, parent, detail) for step, parent, _, detail in plan] for sql, plan in rows.items()}


def page_plan(engine: SQLiteEngine, filters: Filters, *, probe_limit: int | None = None) -> list[Step]:
    """Read a page, and return the query plan of the statement that finds its images."""
    found = plans(engine, filters, probe_limit=probe_limit)
    return next(plan for sql, plan in found.items() if "ORDER BY" in sql)


def scans(engine: SQLiteEngine, filters: Filters, *, probe_limit: int | None = None) -> list[list[str]]:
    """Return the steps of each scan of a page: the leaves of its plan, grouped by parent."""
    plan = page_plan(engine, filters, probe_limit=probe_limit)
    parents = {parent for _, parent, _ in plan}
    details = [(step, parent, detail.replace("COVERING INDEX", "INDEX")) for step, parent, detail in plan]
    leaves = [each for each in details if each[0] not in parents and each[1] != 0 and "SEARCH audiences" not in each[2]]
    return [[detail for _, _, detail in scan] for _, scan in groupby(leaves, key=lambda step: step[1])]


@each_filter
def test_scan_uses_the_index_of_the_filter_in_the_order_of_the_list(
    engine: SQLiteEngine, filters: Filters, index: str, key: str
) -> None:
    found = scans(engine, filters)
    assert found == [[f"SEARCH image_index USING {index} ({key})"]] * len(found)
    assert len(found) >= 2  # at least one for each audience


@each_filter
def test_next_page_starts_at_the_cursor_in_the_index(
    engine: SQLiteEngine, marker: str, filters: Filters, index: str, key: str
) -> None:
    found = scans(engine, {**filters, "marker": marker})
    assert found == [[f"SEARCH image_index USING {index} ({key} AND (created,sort_key)<(?,?))"]] * len(found)
    assert len(found) >= 2


@each_combination
def test_scans_are_merged_lazily(engine: SQLiteEngine, filters: Filters) -> None:
    plan = page_plan(engine, filters)
    parents = {parent for _, parent, _ in plan}
    names = {"LEFT", "RIGHT", "CO-ROUTINE page"}
    inner = {detail for step, _, detail in plan if step in parents and "SCALAR SUBQUERY" not in detail} - names
    assert inner == {"MERGE (UNION ALL)"}


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        ({}, 2),  # public images, and the project's
        (SINCE, 4),  # and their tombstones
        ({"status": "DELETED", "name": "100%"}, 2),
        ({"status": "ERROR", "type_": "backup"}, 2),  # one pair of status and type
        ({"status": "ERROR"}, 8),  # four pairs
    ],
)
def test_only_partitions_that_can_match_are_scanned(engine: SQLiteEngine, filters: Filters, count: int) -> None:
    assert len(scans(engine, filters)) == count


@pytest.mark.parametrize("is_continued", [False, True])
def test_few_changes_are_read_and_sorted(engine: SQLiteEngine, marker: str, is_continued: bool) -> None:
    search = "SEARCH image_index USING INDEX image_index_by_change (audience=? AND deleted=? AND changed>?)"
    filters = {"changes_since": "2025-06-01T00:00:00Z"} | ({"marker": marker} if is_continued else {})
    assert scans(engine, filters) == [[search, SORT]] * 4


def test_many_changes_are_found_by_a_scan_in_the_order_of_the_list(engine: SQLiteEngine) -> None:
    expected = [["SEARCH image_index USING PRIMARY KEY (audience=? AND deleted=?)"]] * 4
    assert scans(engine, SINCE, probe_limit=10) == expected


@each_combination
def test_no_table_is_scanned(engine: SQLiteEngine, marker: str, filters: Filters) -> None:
    steps = [step for plan in plans(engine, {**filters, "marker": marker}).values() for _, _, step in plan]
    small = {"SCAN json_each VIRTUAL TABLE INDEX 1:", "SCAN status_types", "SCAN page"}
    small |= {"SCAN matches", "SCAN CONSTANT ROW"}  # of the counts
    assert {step for step in steps if step.startswith("SCAN")} <= small


def test_marker_is_found_by_its_id(engine: SQLiteEngine, marker: str) -> None:
    first_steps = [plan[0][2] for plan in plans(engine, {"marker": marker}).values()]
    assert first_steps[0] == "SEARCH images USING INDEX sqlite_autoindex_images_1 (id=?)"


NARROWER: list[tuple[Filters, Filters, str]] = [
    # A filter that finds fewer entries, one that finds more, and the index that is used.
    ({"name": "100%"}, {"status": "ACTIVE"}, "image_index_by_name"),
    ({"name": "100%"}, {"type_": "BASE"}, "image_index_by_name"),
    ({"server": "web%201"}, {"type_": "snapshot"}, "image_index_by_server"),
    ({"server": "web%201"}, SINCE, "image_index_by_server"),
    ({"status": "ERROR", "type_": "backup"}, {"name": "ubuntu-14.04"}, "image_index_by_status_type"),
    ({"status": "ERROR", "type_": "backup"}, SINCE, "image_index_by_status_type"),
    ({"changes_since": "2025-06-01T00:00:00Z"}, {"status": "ACTIVE"}, "image_index_by_change"),
    ({"changes_since": "2025-06-01T00:00:00Z"}, {"type_": "BASE"}, "image_index_by_change"),
]


@pytest.mark.parametrize(("narrow", "broad", "index"), NARROWER)
def test_filter_that_finds_the_fewest_entries_drives_the_scan(
    engine: SQLiteEngine, narrow: Filters, broad: Filters, index: str
) -> None:
    found = scans(engine, {**broad, **narrow})
    assert {scan[0].split(" (")[0] for scan in found} == {f"SEARCH image_index USING INDEX {index}"}


@pytest.mark.parametrize(
    "filters", [{"name": "unknown"}, {"server": "unknown"}, {"changes_since": "2100-01-01T00:00:00Z"}]
)
def test_nothing_is_scanned_if_a_filter_finds_nothing(engine: SQLiteEngine, filters: Filters) -> None:
    assert [sql for sql in plans(engine, {"min_ram": 512, **filters}) if "ORDER BY" in sql] == []


@each_combination
def test_filters_that_all_find_many_entries_are_met_without_lookups_in_the_table(
    engine: SQLiteEngine, filters: Filters
) -> None:
    steps = [detail for _, _, detail in page_plan(engine, filters, probe_limit=0) if "SEARCH image_index" in detail]
    assert steps
    assert [step for step in steps if "COVERING INDEX" not in step and "PRIMARY KEY" not in step] == []


def test_filter_in_the_order_of_the_list_drives_where_all_find_many(engine: SQLiteEngine) -> None:
    filters = {**SINCE, "name": "ubuntu-14.04", "status": "ACTIVE"}
    for scan in scans(engine, filters, probe_limit=1):
        assert scan == ["SEARCH image_index USING INDEX image_index_by_name (audience=? AND deleted=? AND name=?)"]
