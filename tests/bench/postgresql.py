"""Compares PostgreSQL with SQLite in one run: `python -m tests.bench.postgresql`.

The first run creates the catalogs, which takes some minutes for a million images; later runs take about five.
"""

import http.client
import itertools
import json
import os
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from tests.bench import BenchError, wrk
from tests.bench.__main__ import cache_option
from tests.bench.catalogs import PAGE, SAMPLE, copy, import_file
from tests.bench.databases import Databases, Pair, databases
from tests.bench.report import Row, Section, Target, facts, table
from tests.bench.rounds import Cost, costs, medians
from tests.bench.servers import HOST, Server, running
from tests.bench.specs import CACHED_TARGET, service
from tests.bench.wrk import Effort, Load, drive
from tests.integration.postgresql.network import Network
from tests.support.generator import PROJECTS, images
from tests.support.packages import Missing

SECTIONS = {
    "cached": "Cached, requests per second (CPU of the worker)",
    "pages": "Not cached, milliseconds per request (CPU of the worker)",
    "imports": "Import with the command, images per second",
    "machines": "Two machines, cached responses per second",
    "distant": "/v2/ while 4 others list images, and the database is 50 ms away",
}
SQLITE, POSTGRESQL = "SQLite", "PostgreSQL"
_CACHED = {SAMPLE: Target(0.75), PAGE: Target(0.88)}
_PAGES = {20: Target(2.5, most=True), PAGE: Target(3.0, most=True)}
_FIRST, _ON_TOP = Target(0.3), Target(0.6)
_TWO_MACHINES = Target(1.7)
_OTHER_CLIENT = Target(5, " ms", most=True)

_DELAY = 0.05  # seconds each way
_SMALL = 10_000  # images

_LIST = f"/v2/{PROJECTS[0]}/images/detail"
_PAGE_OF_20 = f"{_LIST}?limit=20&n={{n}}"  # an unknown parameter makes all queries different


class Bench:
    """A run: the sections of the table."""

    def __init__(self, stored: Databases, folder: Path, effort: Effort, size: int, imported: int) -> None:
        self._databases = stored
        self._catalogs = stored.catalogs
        self._folder = folder
        self._effort = effort
        self._size = size
        self._imported = imported

    def sections(self, names: tuple[str, ...]) -> Iterator[Section]:
        """Measure and yield the sections."""
        for name in names:
            click.echo(f"Measuring: {SECTIONS[name]}", err=True)
            yield Section(SECTIONS[name], list(getattr(self, f"_{name}")()))

    def _public(self, size: int) -> Pair:
        return self._databases.pair(self._catalogs.public(size))

    def _shared(self, size: int) -> Pair:
        return self._databases.pair(self._catalogs.shared(size))

    def _cached(self) -> Iterator[Row]:
        runs: dict[str, Callable[[], Load]] = {}
        with ExitStack() as stack:
            for size in _CACHED:
                for name, server in self._running(stack, self._public(size), CACHED_TARGET).items():
                    runs[f"{size} images, {name}"] = partial(drive, server, self._effort)
            measured = costs(runs, self._effort.rounds)
        for size, target in _CACHED.items():
            sqlite, postgresql = (f"{size} images, {name}" for name in (SQLITE, POSTGRESQL))
            yield Row(sqlite, _as_rate(measured[sqlite]))
            ratio = measured[postgresql].rate / measured[sqlite].rate
            yield Row(postgresql, _as_rate(measured[postgresql]), SQLITE, ratio, target)

    def _pages(self) -> Iterator[Row]:
        runs: dict[str, Callable[[], Load]] = {}
        sizes = sorted({min(_SMALL, self._size), self._size})
        with ExitStack() as stack:
            for size in sizes:
                servers = self._running(stack, self._shared(size), _PAGE_OF_20, IMAGES_UNKNOWN_PARAMETERS="ignore")
                for limit in _PAGES:
                    for name, server in servers.items():
                        targets = [f"{_LIST}?limit={limit}&n={{n}}"]
                        runs[f"{limit} of {size:,}, {name}"] = partial(drive, server, self._effort, targets)
            measured = costs(runs, self._effort.rounds)
        for size in sizes:
            for limit, target in _PAGES.items():
                sqlite, postgresql = (f"{limit} of {size:,}, {name}" for name in (SQLITE, POSTGRESQL))
                yield Row(sqlite, _as_time(measured[sqlite]))
                ratio = measured[sqlite].rate / measured[postgresql].rate
                yield Row(postgresql, _as_time(measured[postgresql]), SQLITE, ratio, target)

    def _imports(self) -> Iterator[Row]:
        """Import into new catalogs, and into copies of the larger ones, which grow from round to round."""
        larger = self._shared(self._size)
        count, rounds = self._imported, min(self._effort.rounds, 2)
        files = []
        for seed in range(rounds + 1):
            files.append(self._folder / f"{seed}.json")
            files[-1].write_text(json.dumps({"images": list(images(count, seed=seed + 1))}))
        first, on_top = f"the first {count:,}", f"{count:,} on top of {self._size:,}"
        template = larger.postgresql.rpartition("/")[2]
        catalogs: dict[tuple[str, str], Iterator[Path | str]] = {
            (first, SQLITE): (self._folder / f"new-{number}.db" for number in itertools.count()),
            (first, POSTGRESQL): (self._databases.new("new") for _ in itertools.count()),
            (on_top, SQLITE): itertools.repeat(copy(larger.sqlite, self._folder)),
            (on_top, POSTGRESQL): itertools.repeat(self._databases.new("copy", template)),
        }
        runs = {
            f"{kind}, {name}": partial(_import_rate, count, catalog, iter(files[1:] if kind == on_top else files))
            for (kind, name), catalog in catalogs.items()
        }
        rates = medians(runs, rounds)
        for kind, target in ((first, _FIRST), (on_top, _ON_TOP)):
            sqlite, postgresql = (rates[f"{kind}, {name}"] for name in (SQLITE, POSTGRESQL))
            yield Row(f"{kind}, {SQLITE}", f"{sqlite:,.0f}")
            yield Row(f"{kind}, {POSTGRESQL}", f"{postgresql:,.0f}", SQLITE, postgresql / sqlite, target)

    def _machines(self) -> Iterator[Row]:
        """Measure one and two machines. Each has a core, which its client and its connections to the database share."""
        cores = sorted(os.sched_getaffinity(0))[:2]
        if len(cores) < 2:
            yield Row("two machines", "skipped", "this machine has one core")
            return
        url = self._public(PAGE).postgresql
        with ExitStack() as stack:
            servers = []
            for core in cores:
                with _pinned(core), _pinned(core, self._databases.server.pid):
                    spec = service(url, CACHED_TARGET)
                    servers.append(stack.enter_context(running(spec, self._folder / f"machine-{core}")))
                    servers[-1].get()  # opens the connections
            pool = stack.enter_context(ThreadPoolExecutor(2))

            def drive_on(core: int, server: Server) -> float:
                with _pinned(core):
                    return drive(server, self._effort).rate

            rates = medians(
                {
                    "one": lambda: pool.submit(drive_on, cores[0], servers[0]).result(),
                    "two": lambda: sum(pool.map(drive_on, cores, servers)),
                },
                self._effort.rounds,
            )
        yield Row("one machine", f"{rates['one']:,.0f}")
        yield Row("two machines", f"{rates['two']:,.0f}", "one", rates["two"] / rates["one"], _TWO_MACHINES)

    def _distant(self) -> Iterator[Row]:
        pair = self._shared(min(_SMALL, self._size))
        effort = Effort(self._effort.rounds, self._effort.seconds, turns=1, connections=4)
        network = Network(self._databases.server.port)
        with network.running(), ExitStack() as stack:
            network.delay = _DELAY
            url = pair.postgresql.replace(f":{self._databases.server.port}/", f":{network.port}/")
            distant = Pair(pair.sqlite, url)
            servers = self._running(stack, distant, _PAGE_OF_20, IMAGES_UNKNOWN_PARAMETERS="ignore")
            taken = defaultdict[str, list[float]](list)
            for _ in range(effort.rounds):
                for name, server in servers.items():
                    taken[name] += _latencies(server, effort)
        median = {name: statistics.median(values) for name, values in taken.items()}
        slowest = {name: statistics.quantiles(values, n=100)[98] for name, values in taken.items()}
        for kind, values in (("median", median), ("99th percentile", slowest)):
            yield Row(f"{kind}, {SQLITE}", f"{values[SQLITE]:.1f} ms")
            more = values[POSTGRESQL] - values[SQLITE]
            yield Row(f"{kind}, {POSTGRESQL}", f"{values[POSTGRESQL]:.1f} ms ({more:+.1f})", "", more, _OTHER_CLIENT)

    def _running(self, stack: ExitStack, pair: Pair, target: str, **variables: str) -> dict[str, Server]:
        """Run the service with each engine. Raises BenchError if their responses differ."""
        folder = self._folder / f"{time.monotonic_ns()}"
        servers = {
            name: stack.enter_context(running(service(catalog, target, **variables), folder / name))
            for name, catalog in ((SQLITE, pair.sqlite), (POSTGRESQL, pair.postgresql))
        }
        if len({server.get().body for server in servers.values()}) != 1:
            raise BenchError(f"the engines respond differently to {target}")
        return servers


def _as_rate(cost: Cost) -> str:
    """Return the responses per second, and the CPU time of one in milliseconds."""
    return f"{cost.rate:,.0f} ({cost.cpu / 1000:.3f} ms)"


def _as_time(cost: Cost) -> str:
    """Return the milliseconds for a response, and its CPU time in milliseconds."""
    return f"{1000 / cost.rate:.2f} ({cost.cpu / 1000:.2f})"


def _import_rate(count: int, catalogs: Iterator[Path | str], files: Iterator[Path]) -> float:
    """Import the next file into the next catalog. Return the number of images that were imported per second."""
    return count / import_file(next(catalogs), next(files))


@contextmanager
def _pinned(core: int, pid: int = 0) -> Iterator[None]:
    """Run a process (by default, this thread) on one core until the end of the block.

    What it starts meanwhile stays on this core.
    """
    before = os.sched_getaffinity(pid)
    os.sched_setaffinity(pid, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(pid, before)


def _latencies(server: Server, effort: Effort) -> list[float]:
    """Return the milliseconds of requests for /v2/, sent one after the other while others list images."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    taken = []
    with ThreadPoolExecutor(1) as pool:
        others = pool.submit(drive, server, effort)
        while not others.done():
            begin = time.perf_counter()
            connection.request("GET", "/v2/", headers={"Host": HOST})
            connection.getresponse().read()
            taken.append((time.perf_counter() - begin) * 1000)
            time.sleep(0.001)
        others.result()
    connection.close()
    return taken


@click.command()
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True, help="How many times to measure each.")
@click.option("--seconds", type=click.IntRange(1), default=3, show_default=True, help="How long to measure each time.")
@click.option(
    "--images", "size", type=click.IntRange(1), default=1_000_000, show_default=True, help="The large catalog."
)
@click.option("--only", type=click.Choice(list(SECTIONS)), multiple=True, help="Measure only this section.")
@click.option("--imported", type=click.IntRange(1), default=100_000, show_default=True, help="Images of an import.")
@cache_option
def main(  # noqa: PLR0913 one parameter for each option
    rounds: int, seconds: int, *, size: int, only: tuple[str, ...], imported: int, cache: Path
) -> None:
    """Compare the two engines on this machine."""
    if not wrk.is_installed():
        click.echo("wrk, which sends the requests, is not installed: apt-get install wrk", err=True)
        sys.exit(2)
    effort, names = Effort(rounds, seconds), only or tuple(SECTIONS)
    try:
        with databases(cache) as stored, TemporaryDirectory(prefix="compute-images-bench-") as folder:
            click.echo(table(Bench(stored, Path(folder), effort, size, imported).sections(names)))
            server = stored.server.execute("SHOW server_version")[0][0]
            click.echo(f"\n{facts(effort)}\nPostgreSQL {server} with its defaults, psycopg {version('psycopg')}")
    except (BenchError, Missing) as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main(prog_name="python -m tests.bench.postgresql")
