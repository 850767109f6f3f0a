"""What a mirror costs, and what it asks of Glance: a real one, with a Keystone beside it."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import openstack

from app.mirror.client import PAGE_SIZE, connect, load_cloud_config
from app.mirror.sync import Mirror
from tests.bench import BenchError
from tests.bench.report import Row, Section, Target
from tests.bench.throughput import interleaved
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
    """Go over so many images, public and private ones, none of which changed, some times."""
    title = f"A mirror of {size:,} images"
    try:
        with _running(folder) as (people, glance):
            glance.fill(people.projects["ours"], size, **_PROPERTIES)
            glance.execute(_VARY)
            with _credentials(as_variables(people.administrator())):
                return Section(title, list(_rows(size, rounds, folder / "catalog.db", glance)))
    except Missing as missing:
        return Section(title, [Row("a pass over all images", "left out", str(missing))])


def _rows(size: int, rounds: int, catalog: Path, glance: Glance) -> Iterator[Row]:
    region = load_cloud_config()
    mirror = Mirror(lambda: connect(region), catalog, tombstone_days=1, replaceable=(), watch=lambda pages, _: pages)
    mirror.make_pass(whole=True)
    listing = openstack.connection.Connection(config=region).image

    def whole() -> int:
        return mirror.make_pass(whole=True).images

    def listed() -> int:
        return sum(1 for _ in listing.images(limit=PAGE_SIZE, visibility="all"))

    def changed() -> int:
        return mirror.make_pass(whole=False).copied.changed

    seconds = interleaved(
        {"whole": _timed(whole, size), "listed": _timed(listed, size), "changed": _timed(changed, 0)}, rounds
    )
    ratio = seconds["whole"] / seconds["listed"]
    yield Row("a pass over all, nothing new", f"{seconds['whole']:.2f} s", "openstacksdk's listing", ratio, _LISTED)
    yield _requests(glance, whole, size // PAGE_SIZE + 1)  # Glance does not say that a full page is the last
    yield Row("a pass over what changed, nothing new", f"{seconds['changed']:.2f} s")
    yield _requests(glance, changed, 1)


def _timed(run: Callable[[], int], expected: int) -> Callable[[], float]:
    """Measure the seconds that something takes, which gives a number that is known."""

    def timed() -> float:
        begin = time.perf_counter()
        found = run()
        if found != expected:
            raise BenchError(f"{found} images, and not {expected}")
        return time.perf_counter() - begin

    return timed


def _requests(glance: Glance, run: Callable[[], int], most: int) -> Row:
    before = len(glance.requests)
    run()
    asked = len(glance.requests) - before
    return Row("its requests to Glance", str(asked), "", asked, Target(most, most=True))


@contextmanager
def _running(folder: Path) -> Iterator[tuple[Cloud, Glance]]:
    """Run a Keystone and a Glance until the end of the block. Raises Missing."""
    folders = [folder / name for name in ("keystone", "glance")]
    for each in folders:
        each.mkdir(parents=True)
    keystone = Keystone(folders[0])
    with keystone.running():
        people = Cloud(keystone)
        glance = Glance(folders[1], people.credentials(GLANCE))
        people.offer("image", glance.origin)
        with glance.running():
            yield people, glance


@contextmanager
def _credentials(variables: dict[str, str]) -> Iterator[None]:
    """Have some variables of the environment until the end of the block."""
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
