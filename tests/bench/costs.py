"""The cost of imports, of memory and of the start."""

import re
import statistics
from collections.abc import Sequence
from itertools import chain, cycle
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.bench import growth
from tests.bench.catalogs import SAMPLE, Catalogs, copy, import_images
from tests.bench.report import Row, Section, Target
from tests.bench.rounds import medians
from tests.bench.servers import running
from tests.bench.specs import CACHED_TARGET, VARIED_TARGET, service
from tests.support.generator import images

_MEBI = 1024  # kB

_FIRST, _ON_TOP = Target(25_000), Target(15_000)
_MAX_MEMORY, _CACHE = 90, 32  # MB
_START = Target(1.5, " s", most=True)


def imports(count: int, size: int, rounds: int, catalogs: Catalogs, folder: Path) -> Section:
    """Measure imports of `count` images into a new catalog, and into one of `size` images."""
    larger = catalogs.shared(size)

    def first() -> float:
        with TemporaryDirectory(dir=folder) as new:
            return count / import_images(Path(new) / larger.name, images(count, seed=1))

    def on_top() -> float:
        with TemporaryDirectory(dir=folder) as new:
            return count / import_images(copy(larger, Path(new)), images(count, seed=2))

    rates = medians({f"the first {count:,}": first, f"{count:,} on top of {size:,}": on_top}, rounds)
    targets = (_FIRST, _ON_TOP) if count == 100_000 else (None, None)
    return Section(
        "Import with the command, images per second",
        [
            Row(f"import, {name}", f"{rate:,.0f}", "", rate, target)
            for (name, rate), target in zip(rates.items(), targets, strict=True)
        ],
    )


def memory(size: int, queries: int, catalogs: Catalogs, folder: Path) -> Section:
    """Measure a worker's memory after different queries: of all kinds on a large catalog, or one kind on 7 images."""
    rows = []
    large = catalogs.shared(size)
    mixed = [*chain.from_iterable(growth.pages(large).values()), VARIED_TARGET]
    for name, catalog, targets, cache_mb, target in (
        (f"{size:,} images, without a response cache", large, mixed, 0, _MAX_MEMORY),
        (f"{size:,} images, with a cache of {_CACHE} MB", large, mixed, _CACHE, _MAX_MEMORY + _CACHE),
        (f"7 images, with a cache of {_CACHE} MB", catalogs.public(SAMPLE), [VARIED_TARGET], _CACHE, None),
    ):
        resident, proportional = _memory(catalog, targets, folder / name, cache_mb, queries)
        measured = f"{resident:.1f} MB (Pss {proportional:.1f})"
        most = Target(target, " MB", most=True) if target else None
        rows.append(Row(f"memory after {queries:,} queries, {name}", measured, "", resident, most))
    return Section("Memory of a worker", rows)


def start(times: int, catalogs: Catalogs, folder: Path) -> Section:
    """Measure how long the service takes from its start to its first response."""
    starts = []
    for number in range(times):
        with running(service(catalogs.public(SAMPLE), CACHED_TARGET), folder / f"start-{number}") as server:
            starts.append(server.start)
    seconds = statistics.median(starts)
    return Section("Start", [Row("start to first response", f"{seconds:.2f} s", "", seconds, _START)])


def _memory(catalog: Path, targets: Sequence[str], folder: Path, cache_mb: int, queries: int) -> tuple[float, float]:
    with running(service(catalog, IMAGES_RESPONSE_CACHE_MB=str(cache_mb)), folder) as server:
        for number, target in zip(range(1, queries + 1), cycle(targets), strict=False):
            server.get(re.sub("limit=[0-9]+", f"limit={number}", target.replace("{n}", str(number))))  # all distinct
        rollup = Path(f"/proc/{server.worker}/smaps_rollup").read_text()
    resident, proportional = (
        int(kilobytes) / _MEBI for kilobytes in re.findall(r"^(?:Rss|Pss): +(\d+) kB", rollup, re.MULTILINE)
    )
    return resident, proportional
