"""The time of syncs and their requests, with a real Glance and Keystone."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import openstack

from app.catalog.engines import open_catalog
from app.mirror.client import PAGE_SIZE
from app.mirror.cloud import connect, load_cloud_config
from app.mirror.sync import Mirror
from tests.bench import BenchError
from tests.bench.report import Row, Section, Target
from tests.bench.rounds import medians
from tests.integration.openstack.cloud import GLANCE, Cloud, as_variables
from tests.integration.openstack.glance import Glance
from tests.integration.openstack.keystone import Keystone
from tests.support.packages import Missing

_PROPERTIES = {"architecture": "x86_64", "os_distro": "debian", "os_version": "13", "hw_disk_bus": "virtio"}
_VARY = """
UPDATE images SET
    visibility = CASE rowid % 2 WHEN 0 THEN 'public' ELSE 'private' END,
    created_at = datetime('2025-01-01', rowid || ' minutes') || '.000000',
    updated_at = datetime('2025-01-01', rowid || ' minutes') || '.000000'
"""
_LISTED = Target(1.3, most=True)


def section(size: int, rounds: int, folder: Path) -> Section:
    """Measure syncs of so many images, public and private ones, without changes."""
    title = f"A mirror of {size:,} images"
    try:
        with _running(folder) as (cloud, glance):
            glance.fill(cloud.projects["main"], size, **_PROPERTIES)
            glance.execute(_VARY)
            with patch.dict(os.environ, as_variables(cloud.administrator())):
                return Section(title, list(_rows(size, rounds, folder / "catalog.db", glance)))
    except Missing as missing:
        return Section(title, [Row("full sync without changes", "skipped", str(missing))])


def _rows(size: int, rounds: int, catalog: Path, glance: Glance) -> Iterator[Row]:
    region = load_cloud_config()
    mirror = Mirror(
        lambda: connect(region), open_catalog(catalog), tombstone_days=1, sample_ids=(), progress=lambda pages, _: pages
    )
    mirror.sync(full=True)
    listing = openstack.connection.Connection(config=region).image

    def full() -> int:
        return mirror.sync(full=True).images

    def listed() -> int:
        return sum(1 for _ in listing.images(limit=PAGE_SIZE, visibility="all"))

    def incremental() -> int:
        return mirror.sync(full=False).counts.changed

    seconds = medians(
        {"full": _timed(full, size), "listed": _timed(listed, size), "incremental": _timed(incremental, 0)}, rounds
    )
    ratio = seconds["full"] / seconds["listed"]
    yield Row("full sync without changes", f"{seconds['full']:.2f} s", "openstacksdk's listing", ratio, _LISTED)
    yield _requests(glance, full, size // PAGE_SIZE + 1)  # Glance links to a next page even after a full last page
    yield Row("incremental sync without changes", f"{seconds['incremental']:.2f} s")
    yield _requests(glance, incremental, 1)


def _timed(run: Callable[[], int], expected: int) -> Callable[[], float]:
    """Return a function that measures the seconds of a run, which has to return the expected number."""

    def timed() -> float:
        begin = time.perf_counter()
        found = run()
        if found != expected:
            raise BenchError(f"{found} images, not {expected}")
        return time.perf_counter() - begin

    return timed


def _requests(glance: Glance, run: Callable[[], int], most: int) -> Row:
    before = len(glance.requests)
    run()
    count = len(glance.requests) - before
    return Row("its requests to Glance", str(count), "", count, Target(most, most=True))


@contextmanager
def _running(folder: Path) -> Iterator[tuple[Cloud, Glance]]:
    """Run a Keystone and a Glance until the end of the block. Raises Missing."""
    folders = [folder / name for name in ("keystone", "glance")]
    for each in folders:
        each.mkdir(parents=True)
    keystone = Keystone(folders[0])
    with keystone.running():
        cloud = Cloud(keystone)
        glance = Glance(folders[1], cloud.credentials(GLANCE))
        cloud.register_service("image", glance.origin)
        with glance.running():
            yield cloud, glance
