"""A killed mirror leaves a consistent replica of one state of Glance."""

import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from itertools import count

import pytest

from tests.integration.openstack.cloud import Cloud
from tests.integration.openstack.component import installed
from tests.integration.openstack.glance import Glance
from tests.integration.openstack.images import Images
from tests.integration.openstack.replica import Replica, expected_images
from tests.integration.server.service import serving, until
from tests.integration.server.wire import Connection, request

pytestmark = pytest.mark.external(install=[installed])

ROUNDS, KILLS = 5, 5
PAUSE = 0.02  # seconds

IMAGES, GROUPS = 300, 7

# Rename all images in one statement. Each generation gives other images to another project than the one before.
RENEW = """
UPDATE images SET name = ?1, owner = iif(rowid % ?2 = ?1 % ?2, ?4, ?3), updated_at = datetime('now')
"""


@contextmanager
def meanwhile(action: Callable[[], None]) -> Iterator[None]:
    """Repeat an action until the end of the block. Raises what the action raised."""
    ended = threading.Event()

    def repeat() -> None:
        while not ended.wait(PAUSE):
            action()

    with ThreadPoolExecutor(1) as threads:
        repeating = threads.submit(repeat)
        try:
            yield
        finally:
            ended.set()
            repeating.result()


def at_random(_: Replica, longest: float) -> None:
    time.sleep(random.uniform(0, longest))


def as_it_writes(replica: Replica, longest: float) -> None:
    """Wait until the mirror writes, which takes a few milliseconds, or until the longest time has passed."""
    log = replica.catalog.with_name(f"{replica.catalog.name}-wal")
    before, deadline = log.stat().st_mtime_ns, time.monotonic() + longest
    while log.stat().st_mtime_ns == before and time.monotonic() < deadline:
        time.sleep(0.0002)
    time.sleep(random.uniform(0, 0.002))


@pytest.mark.parametrize("moment", [at_random, as_it_writes], ids=lambda moment: moment.__name__.replace("_", " "))
def test_killed_mirror_leaves_a_consistent_replica(
    replica: Replica, glance: Glance, cloud: Cloud, admin: Images, moment: Callable[[Replica, float], None]
) -> None:
    generations, seen = count(1), [0]
    glance.fill(cloud.projects["main"], IMAGES)

    def renew() -> None:
        glance.execute(RENEW, next(generations), GROUPS, cloud.projects["main"], cloud.projects["other"])

    def read() -> None:
        response = connection.fetch(request(f"/v2/{cloud.projects['main']}/images/detail?limit=1000"))
        assert response.status == 200
        (name,) = {image["name"] for image in response.document["images"]}
        assert set(response.images) == shown[int(name) % GROUPS]
        assert int(name) >= seen[-1]
        seen.append(int(name))

    def measure_sync() -> float:
        started, before = time.monotonic(), seen[-1]
        replica.sync()
        until(lambda: seen[-1] > before)
        return time.monotonic() - started

    renew()
    shown = shown_by_generation(glance)
    replica.sync()
    with (
        serving(replica.folder, IMAGES_CATALOG=str(replica.catalog)) as service,
        Connection(service.port) as connection,
        meanwhile(renew),
        meanwhile(read),
    ):
        for _ in range(ROUNDS):
            duration = measure_sync()
            for _ in range(KILLS):
                with replica.mirrored("--interval", "0.1", "--full-sync-interval", "0") as mirror:
                    moment(replica, 2 * duration)
                    mirror.process.kill()
                assert integrity(replica) == "ok"
    replica.sync()
    assert replica.images() == expected_images(admin)


def shown_by_generation(glance: Glance) -> list[set[str]]:
    """Return the ids of the project's images in a generation, by its number modulo the number of groups."""
    with closing(sqlite3.connect(glance.database)) as database:
        rows = database.execute("SELECT rowid, id FROM images").fetchall()
    return [{each for row, each in rows if row % GROUPS != kind} for kind in range(GROUPS)]


def integrity(replica: Replica) -> str:
    with closing(sqlite3.connect(f"{replica.catalog.as_uri()}?mode=ro", uri=True)) as database:
        return str(database.execute("PRAGMA integrity_check").fetchone()[0])
