"""The slowest queries, and how long a client waits for cached responses while other clients send these queries."""

import http.client
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from functools import partial
from itertools import chain, count
from pathlib import Path

from app.catalog.engines import open_catalog
from app.catalog.models import StoredImage
from app.catalog.transfer import import_images
from tests.bench import BenchError
from tests.bench.catalogs import Catalogs
from tests.bench.report import Row, Section, Target
from tests.bench.rounds import interleaved
from tests.bench.servers import HOST, Server, running
from tests.bench.specs import service
from tests.bench.wrk import Effort
from tests.support.images import image_id

SIZE = 400_000

_LIST = "/v2/{n:032x}/images/detail"  # each project has cached responses of its own, although all are the same
_CACHED = f"{_LIST.format(n=1)}?limit=7"
QUERIES = {
    "two filters that never match together": "?minRam=512&minDisk=20&limit=1000",
    "changes to 20,000 old images": "?changes-since=2026-01-01T00:00:00Z&limit=7",
    "a filter that matches none of 20,000 changes": "?changes-since=2026-01-01T00:00:00Z&minDisk=20&limit=1000",
}
_LONG_PAGES = {
    "2 clients send: pages of 2,000 images": ["?limit=2000"] * 2,
    "1 client sends: pages of 100,000 images": ["?limit=100000"],
}
_ATTACKERS = {1: "1 client sends", 4: "4 clients send"}
_REPETITIONS = 20  # of each query, when no other client sends any
_QUERY_TARGET, _CLIENT_TARGET = Target(20, " ms", most=True), Target(10, " ms", most=True)

_ATTACK = """
import http.client, itertools, sys
port, host, target, first = sys.argv[1:]
connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=60)
for number in itertools.count(int(first)):
    connection.request("GET", target.format(n=number), headers={"Host": host})
    response = connection.getresponse()
    response.read()
    if response.status not in (200, 503):  # 503: too many slow queries at the same time
        sys.exit(response.status)
"""
_projects = count(1000)


def section(size: int, catalogs: Catalogs, folder: Path, effort: Effort) -> Section:
    """Measure the queries on a catalog of so many images, and cached responses to a client while others send them."""
    catalog = catalogs.cached(f"skewed-{size}", partial(_create, size), __file__)
    attacks = {f"{who}: {name}": [query] * n for name, query in QUERIES.items() for n, who in _ATTACKERS.items()}
    others = {"no other client": [], **attacks, **_LONG_PAGES}
    with running(service(catalog, _CACHED, IMAGES_MAX_LIMIT="100000"), folder) as server:
        queries = {name: partial(_query_times, server, query) for name, query in QUERIES.items()}
        clients = {name: partial(_client_times, server, sent, effort.seconds) for name, sent in others.items()}
        taken = {
            name: list(chain.from_iterable(times))
            for name, times in interleaved(queries | clients, effort.rounds).items()
        }
    rows = []
    for name in QUERIES:
        median = statistics.median(taken[name])
        rows.append(Row(f"query: {name}", f"{median:.1f} ms", "", median, _QUERY_TARGET))
    for name in others:
        quantiles = statistics.quantiles(taken[name], n=100)
        measured = f"p99 {quantiles[98]:.1f} ms (median {quantiles[49]:.1f})"
        target = None if name in _LONG_PAGES else _CLIENT_TARGET
        rows.append(Row(f"cached, {name}", measured, "", quantiles[98], target))
    return Section(f"Slow queries on {size:,} images: alone; cached responses while other clients send them", rows)


def _query_times(server: Server, query: str) -> list[float]:
    """Return the milliseconds that a query takes, each time for a project that has not sent it before."""
    with closing(http.client.HTTPConnection("127.0.0.1", server.port)) as connection:
        return [_time(connection, _LIST.format(n=next(_projects)) + query) for _ in range(_REPETITIONS)]


def _client_times(server: Server, queries: Sequence[str], seconds: float) -> list[float]:
    """Return the milliseconds of a client's cached responses while others send queries, each as fast as it can."""
    command = [sys.executable, "-c", _ATTACK, str(server.port), HOST]
    with ExitStack() as stack:
        connection = stack.enter_context(closing(http.client.HTTPConnection("127.0.0.1", server.port)))
        others = []
        for query in queries:
            first = str(next(_projects) * 10**9)
            others.append(stack.enter_context(subprocess.Popen([*command, _LIST + query, first])))
            stack.callback(others[-1].terminate)
        taken, end = [], time.monotonic() + seconds
        while time.monotonic() < end:
            taken.append(_time(connection, _CACHED))
            time.sleep(0.001)
        failed = [other.returncode for other in others if other.poll() is not None]
        if failed:
            raise BenchError(f"a client that sent a slow query ended with {failed[0]}")
    return taken


def _time(connection: http.client.HTTPConnection, target: str) -> float:
    """Return the milliseconds of a request."""
    begin = time.perf_counter()
    connection.request("GET", target, headers={"Host": HOST})
    connection.getresponse().read()
    return (time.perf_counter() - begin) * 1000


def _create(size: int, catalog: Path) -> None:
    import_images(open_catalog(catalog), list(_images(size)), tombstone_days=30)


def _images(size: int) -> Iterator[StoredImage]:
    """Yield public images: one half requires memory and the other a disk; every twentieth was changed long after."""
    for number in range(size):
        created = f"20{10 + number % 10}-01-01T00:00:{number % 60:02}Z"
        yield StoredImage(
            id=image_id(number),
            name=f"image-{number % 1000}",
            status="ACTIVE",
            progress=100,
            created=created,
            updated="2026-02-01T00:00:00Z" if number % 20 == 0 else created,
            min_disk=20 * (number % 2),
            min_ram=512 * (1 - number % 2),
            size=number,
            metadata='{"architecture":"x86_64","kernel_id":"nokernel"}',
            owner=None,
            visibility="public",
            members="[]",
            pending_members="[]",
            hidden=False,
        )
