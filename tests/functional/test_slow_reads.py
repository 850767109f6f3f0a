"""Slow reads, and reads of a locked file: they leave the event loop for a thread, and end at the time limit."""

import math
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import _GeneratorContextManager, contextmanager
from pathlib import Path
from queue import Queue

import pytest
from sqlite_utils.utils import sqlite3  # type: ignore[attr-defined]

from app.catalog.models import Image, Version
from app.catalog.sqlite.engine import SQLiteEngine
from app.catalog.sqlite.reader import SQLiteSnapshot
from app.overrides import Overrides
from tests.conftest import Serve
from tests.support.catalogs import sqlite_only
from tests.support.images import catalog_at, image
from tests.support.projects import LIST_URL

TIMEOUT = 7  # seconds
MESSAGE = f"The query was given up after {TIMEOUT} seconds: add filters or lower the limit."


class SlowEngine(SQLiteEngine):
    """An engine whose queries exceed the limits of the event loop, or all limits."""

    def __init__(self, path: Path, *, always: bool, progress_interval: int = 1) -> None:
        super().__init__(path, progress_interval=progress_interval)
        self.always = always
        self.threads: list[threading.Thread] = []

    def read_limits(
        self, seconds: float, *, cpu_seconds: float = math.inf, images: float = math.inf
    ) -> _GeneratorContextManager[None]:
        """Record the thread, and limit its reads to no time at all."""
        self.threads.append(threading.current_thread())
        limit = 0 if self.always or cpu_seconds < math.inf else seconds
        return super().read_limits(limit, cpu_seconds=cpu_seconds, images=images)


class LockedEngine(SQLiteEngine):
    """An engine whose file is locked until the first read in a thread, or always."""

    def __init__(self, path: Path, *, always: bool) -> None:
        super().__init__(path, lock_timeout=0)
        self.always = always
        self.locker = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self.locker.executescript("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE")

    def read_limits(
        self, seconds: float, *, cpu_seconds: float = math.inf, images: float = math.inf
    ) -> _GeneratorContextManager[None]:
        """End the lock if it is not for ever, and the thread is not that of the event loop."""
        if not self.always and cpu_seconds == math.inf:
            self.locker.close()
        return super().read_limits(seconds, cpu_seconds=cpu_seconds, images=images)


each_path = pytest.mark.parametrize("path", [LIST_URL, f"{LIST_URL}?changes-since=2001-01-01T00:00:00Z"])
each_end = pytest.mark.parametrize(("always", "status"), [(False, 200), (True, 503)])


@sqlite_only
@each_path
@each_end
def test_read_of_a_locked_file_is_repeated_in_a_thread(
    serve: Serve, location: str, path: str, always: bool, status: int
) -> None:
    catalog = catalog_at(location, image(1))
    engine = LockedEngine(Path(catalog), always=always)
    client = serve(catalog, overrides=Overrides(engine=engine), query_timeout=TIMEOUT)
    response = client.get(path)
    assert response.status_code == status
    if always:
        message = "The catalog is busy with other changes; try again later."
        assert response.json() == {"serviceUnavailable": {"code": 503, "message": message}}
        engine.locker.close()
    assert client.get(path).status_code == 200


@sqlite_only
@each_path
@each_end
def test_slow_read_is_repeated_in_a_thread_until_the_time_limit(
    serve: Serve, sample_catalog: str, path: str, always: bool, status: int
) -> None:
    engine = SlowEngine(Path(sample_catalog), always=always)
    response = serve(sample_catalog, overrides=Overrides(engine=engine), query_timeout=TIMEOUT).get(path)
    loop, other = engine.threads[-2:]  # those before read whether the catalog is a stale replica
    assert (response.status_code, loop is other) == (status, False)
    if always:
        assert response.headers["retry-after"] == str(TIMEOUT)
        assert response.json() == {"serviceUnavailable": {"code": 503, "message": MESSAGE}}
    else:
        assert response.json() == serve(sample_catalog, response_cache_mb=0).get(path).json()


class RecordingEngine(SlowEngine):
    """A slow engine that records how many images the pages of each read lacked."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, always=False, progress_interval=10**9)  # checks the limits only between batches
        self.missing: list[int] = []

    @contextmanager
    def snapshot(self, *, is_single: bool = False) -> Iterator[SQLiteSnapshot]:
        """Read one state of the catalog."""
        with super().snapshot(is_single=is_single) as snapshot:
            read_images = snapshot.read_images

            def record(sequences: Sequence[int], version: Version | None) -> Iterator[dict[int, Image]]:
                self.missing.append(len(sequences))
                return read_images(sequences, version)

            snapshot.read_images = record  # type: ignore[method-assign]
            yield snapshot


@sqlite_only
def test_images_read_before_a_limit_is_exceeded_are_not_read_again(serve: Serve, location: str) -> None:
    catalog = catalog_at(location, *map(image, range(250)))
    engine = RecordingEngine(Path(catalog))
    client = serve(catalog, overrides=Overrides(engine=engine))
    assert len(client.get(f"{LIST_URL}?limit=300").json()["images"]) == 250
    assert client.get(f"{LIST_URL}?limit=301").json() == serve(catalog).get(LIST_URL).json()
    assert engine.missing == [250, 150, 0]


class BlockedEngine(SlowEngine):
    """An engine whose reads in threads wait until they are released."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, always=False)
        self.limits: Queue[float] = Queue()
        self.released = threading.Event()

    def read_limits(
        self, seconds: float, *, cpu_seconds: float = math.inf, images: float = math.inf
    ) -> _GeneratorContextManager[None]:
        """Record the time limit of a read in a thread, and wait."""
        if cpu_seconds == math.inf:
            self.limits.put(seconds)
            self.released.wait()
        return super().read_limits(seconds, cpu_seconds=cpu_seconds, images=images)


@sqlite_only
def test_time_limit_includes_the_wait_for_other_slow_queries(serve: Serve, sample_catalog: str) -> None:
    engine = BlockedEngine(Path(sample_catalog))
    client = serve(sample_catalog, overrides=Overrides(engine=engine), query_timeout=1)
    with ThreadPoolExecutor() as pool:
        others = [pool.submit(client.get, LIST_URL) for _ in range(2)]
        limits = [engine.limits.get(), engine.limits.get()]
        response = client.get(LIST_URL)
        engine.released.set()
        assert [other.result().status_code for other in others] == [200, 200]
    message = "Too many queries are running; try again later."
    assert response.json() == {"serviceUnavailable": {"code": 503, "message": message}}
    assert response.headers["retry-after"] == "1"
    assert max(limits) < 1


def test_large_page_is_the_same_as_small_pages_together(serve: Serve, location: str) -> None:
    catalog = catalog_at(location, *(image(number, metadata={"key": "x" * 250}) for number in range(2_500)))
    client = serve(catalog, max_limit=2_000)
    images, url = [], f"{LIST_URL}?limit=400"
    while url:
        page = client.get(url).json()
        images += page["images"]
        (url,) = [link["href"] for link in page.get("images_links", [{"href": ""}])]
    large = client.get(LIST_URL)
    assert len(large.content) > 1_000_000
    assert large.json()["images"] == images[:2_000]
    assert client.get(large.json()["images_links"][0]["href"]).json() == {"images": images[2_000:]}
