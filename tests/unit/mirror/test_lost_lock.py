"""Mirrors of one PostgreSQL catalog: whoever loses the lock of the only mirror writes nothing more."""

from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from app.catalog.engine import Engine
from app.catalog.engines import open_catalog
from app.catalog.models import SyncStatus
from app.errors import MirrorAlreadyRunning, MirrorLockLost
from app.mirror.sync import Mirror
from tests.support.catalogs import END_MIRROR, PostgreSQLCatalogs, add_images, execute, exported_numbers
from tests.support.clock import FakeClock
from tests.support.fake_glance import FakeGlance, glance_client, glance_image
from tests.support.images import image
from tests.support.postgresql import Cluster

pytestmark = pytest.mark.external

LIST = "GET /v2/images"


@pytest.fixture
def location(postgresql: Cluster, tmp_path: Path) -> Iterator[str]:
    with PostgreSQLCatalogs(postgresql)(tmp_path) as new_catalog:
        yield new_catalog("catalog")


@pytest.fixture
def first(location: str) -> Iterator[Engine]:
    with closing(open_catalog(location)) as engine:
        yield engine


second = first  # another engine of the same catalog, as on another machine


class Interruption(FakeClock):
    """A clock that calls a function once when a sync, in its transaction, has written the images."""

    def __init__(self, interrupt: Callable[[], object]) -> None:
        super().__init__()
        self._interrupt = interrupt

    def days_ago(self, days: int) -> str:
        """Return the time from which a sync purges tombstones."""
        self._interrupt()
        return super().days_ago(days)


def mirror_of(engine: Engine, glance: FakeGlance, clock: FakeClock) -> Mirror:
    connect = partial(glance_client, glance.url, timeout=5)
    return Mirror(connect, engine, tombstone_days=30, sample_ids=[], progress=lambda pages, _: pages, clock=clock)


@pytest.mark.parametrize("is_writing", [False, True], ids=["while it reads", "in its transaction"])
def test_mirror_that_loses_its_lock_does_not_write_over_the_next_one(
    location: str, first: Engine, second: Engine, glance: FakeGlance, is_writing: bool
) -> None:
    def replace_mirror() -> None:
        execute(location, END_MIRROR)
        glance.put(glance_image(2))
        with second.mirror_lock():
            mirror_of(second, glance, FakeClock()).sync(full=True)

    with first.mirror_lock():
        with pytest.raises(MirrorAlreadyRunning), second.mirror_lock():
            pass
        glance.put(glance_image(1))
        if not is_writing:
            glance.before[LIST] = replace_mirror
        mirror = mirror_of(first, glance, Interruption(replace_mirror if is_writing else lambda: None))
        with pytest.raises(MirrorLockLost):
            mirror.sync(full=True)
        with pytest.raises(MirrorLockLost):
            mirror.sync(full=False)
    status = second.read_sync_status()
    assert (exported_numbers(second), status.images, status.error) == ([2, 1], 2, None)


def test_nothing_is_written_without_the_lock(location: str, first: Engine, tmp_path: Path) -> None:
    add_images(first, image(1))
    first.write_sync_status(status := SyncStatus(images=1))
    first.backup(backup := tmp_path / "backup")
    writes: list[Callable[[], object]] = [
        lambda: add_images(first, image(2)),
        lambda: first.write_sync_status(SyncStatus(images=2)),
        lambda: first.restore(backup, timeout=1),
        first.read_sync_status,
    ]
    before = execute(location, "SELECT version FROM catalog")
    with first.mirror_lock():
        execute(location, END_MIRROR)
        for write in writes:
            with pytest.raises(MirrorLockLost):
                write()
    assert (execute(location, "SELECT version FROM catalog"), first.read_sync_status()) == (before, status)
    with first.mirror_lock():
        add_images(first, image(2))
    assert exported_numbers(first) == [1, 2]
