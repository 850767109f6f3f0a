"""How many matches of each filter are counted to plan a page, and which filter then drives the scans."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

import pytest

from app.catalog.listing import Probe, plan_scans
from app.catalog.models import ImageFilters
from tests.support.images import Fields

if TYPE_CHECKING:
    from app.catalog.engine import Snapshot

LIMIT = 25_000  # of the snapshot


class CountingSnapshot:
    """A snapshot in which every partition has the given numbers of matches, by column."""

    def __init__(self, matches: Mapping[str, int]) -> None:
        self._matches = matches
        self.bounds: dict[str, int] = {}  # up to how many matches were counted, by column

    def max_matches(self, _page_size: int) -> int:
        """Return the limit."""
        return LIMIT

    def count(self, probes: Sequence[Probe]) -> Sequence[int]:
        """Return the number of matches of each probe, up to its bound, which is recorded."""
        self.bounds |= {probe.condition.column: probe.at_most for probe in probes}
        return [min(self._matches[probe.condition.column], probe.at_most) for probe in probes]


@pytest.mark.parametrize(
    ("filters", "matches", "bounds", "driving"),
    [
        ({"min_ram": 512, "min_disk": 20}, (200_000, 200_000), (5_000, 5_000), "min_ram"),
        ({"min_ram": 512, "min_disk": 20}, (200_000, 4_999), (5_000, 5_000), "min_disk"),
        ({"min_ram": 512, "min_disk": 20}, (300, 200), (5_000, 300), "min_disk"),
        ({"changes_since": "2026-01-01T00:00:00Z", "min_disk": 20}, (200_000, 200_000), (LIMIT, 5_000), "min_disk"),
        ({"changes_since": "2026-01-01T00:00:00Z", "min_disk": 20}, (20_000, 200_000), (LIMIT, 20_000), "changed"),
        ({"changes_since": "2026-01-01T00:00:00Z", "min_disk": 20}, (20_000, 8_000), (LIMIT, 20_000), "min_disk"),
    ],
)
def test_matches_are_counted_as_far_as_they_can_change_the_plan(
    filters: Fields, matches: tuple[int, int], bounds: tuple[int, int], driving: str
) -> None:
    columns = ["changed" if name == "changes_since" else name for name in filters]
    snapshot = CountingSnapshot(dict(zip(columns, matches, strict=True)))
    scans = plan_scans(cast("Snapshot", snapshot), "project", ImageFilters(**filters), 7)
    assert snapshot.bounds == dict(zip(columns, bounds, strict=True))
    assert {scan.driving and scan.driving.column for scan in scans} == {driving}
