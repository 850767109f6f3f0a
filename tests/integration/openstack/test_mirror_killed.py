"""What a mirror leaves that is killed: a copy that is whole, of what Glance had at some time."""

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
from tests.integration.openstack.copies import Copy, truth
from tests.integration.openstack.glance import Glance
from tests.integration.openstack.images import Images
from tests.integration.server.service import serving, until
from tests.integration.server.wire import Connection, request

ROUNDS, KILLS = 5, 5
PAUSE = 0.02  # seconds

IMAGES, KINDS = 300, 7

# All images at once, and each generation hides some that the one before shows.
RENEW = "UPDATE images SET name = ?1, os_hidden = (rowid % ?2 = ?1 % ?2), updated_at = datetime('now')"


@contextmanager
def meanwhile(action: Callable[[], None]) -> Iterator[None]:
    """Do something again and again until the end of the block, and raise what that raised."""
    ended = threading.Event()

    def go_on() -> None:
        while not ended.wait(PAUSE):
            action()

    with ThreadPoolExecutor(1) as threads:
        going = threads.submit(go_on)
        try:
            yield
        finally:
            ended.set()
            going.result()


def at_random(_: Copy, longest: float) -> None:
    """Wait for any time."""
    time.sleep(random.uniform(0, longest))


def as_it_writes(copy: Copy, longest: float) -> None:
    """Wait until the file is written to, which is over after a few milliseconds; but not for ever."""
    log = copy.catalog.with_name(f"{copy.catalog.name}-wal")
    before, deadline = log.stat().st_mtime_ns, time.monotonic() + longest
    while log.stat().st_mtime_ns == before and time.monotonic() < deadline:
        time.sleep(0.0002)
    time.sleep(random.uniform(0, 0.002))


@pytest.mark.parametrize("moment", [at_random, as_it_writes], ids=lambda moment: moment.__name__.replace("_", " "))
def test_a_mirror_that_is_killed_leaves_a_whole_copy(
    copy: Copy, glance: Glance, cloud: Cloud, administrator: Images, moment: Callable[[Copy, float], None]
) -> None:
    generations, seen = count(1), [0]
    glance.fill(cloud.projects["ours"], IMAGES)

    def renew() -> None:
        glance.execute(RENEW, next(generations), KINDS)

    def read() -> None:
        answer = connection.ask(request(f"/v2/{cloud.projects['ours']}/images/detail?limit=1000"))
        assert answer.status == 200
        (name,) = {image["name"] for image in answer.document["images"]}
        assert set(answer.images) == shown[int(name) % KINDS]
        assert int(name) >= seen[-1]
        seen.append(int(name))

    def fill() -> float:
        began, before = time.monotonic(), seen[-1]
        copy.fill()
        until(lambda: seen[-1] > before)
        return time.monotonic() - began

    renew()
    shown = shown_by_generation(glance)
    copy.fill()
    with (
        serving(copy.folder, IMAGES_CATALOG=str(copy.catalog)) as service,
        Connection(service.port) as connection,
        meanwhile(renew),
        meanwhile(read),
    ):
        for _ in range(ROUNDS):
            took = fill()
            for _ in range(KILLS):
                with copy.mirrored("--every", "0.1", "--whole-every", "0") as mirror:
                    moment(copy, 2 * took)
                    mirror.process.kill()
                assert integrity(copy) == "ok"
    copy.fill()
    assert copy.images() == truth(administrator)


def shown_by_generation(glance: Glance) -> list[set[str]]:
    """Give the ids of the images that a generation shows, by its remainder."""
    with closing(sqlite3.connect(glance.database)) as database:
        rows = database.execute("SELECT rowid, id FROM images").fetchall()
    return [{each for row, each in rows if row % KINDS != kind} for kind in range(KINDS)]


def integrity(copy: Copy) -> str:
    """Ask SQLite whether the file is well."""
    with closing(sqlite3.connect(f"{copy.catalog.as_uri()}?mode=ro", uri=True)) as database:
        return str(database.execute("PRAGMA integrity_check").fetchone()[0])
