"""What else the service costs: imports, memory, its start."""

import re
import statistics
from collections.abc import Sequence
from itertools import chain, cycle
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.bench import growth
from tests.bench.catalogs import SAMPLE, Catalogs, copy, import_images
from tests.bench.report import Row, Section, Target
from tests.bench.servers import running
from tests.bench.specs import KEPT, VARIED, service
from tests.bench.throughput import interleaved
from tests.support.generator import images

_QUERIES = 1000
_MEBI = 1024  # kB

_FIRST, _ON_TOP = Target(25_000), Target(15_000)
_MEMORY, _START = Target(90, " MB", most=True), Target(1.5, " s", most=True)


def imports(many: int, top: int, rounds: int, catalogs: Catalogs, folder: Path) -> Section:
    """Import so many images into a new catalog, and as many on top of a larger one, some times."""
    larger = catalogs.holding(top)

    def first() -> float:
        with TemporaryDirectory(dir=folder) as new:
            return many / import_images(Path(new) / larger.name, images(many, seed=1))

    def on_top() -> float:
        with TemporaryDirectory(dir=folder) as new:
            return many / import_images(copy(larger, Path(new)), images(many, seed=2))

    rates = interleaved({f"the first {many:,}": first, f"{many:,} on top of {top:,}": on_top}, rounds)
    targets = (_FIRST, _ON_TOP) if many == 100_000 else (None, None)
    return Section(
        "Import through the command, images a second",
        [
            Row(f"import, {name}", f"{rate:,.0f}", "", rate, target)
            for (name, rate), target in zip(rates.items(), targets, strict=True)
        ],
    )


def memory(size: int, catalogs: Catalogs, folder: Path) -> Section:
    """Look at a worker's memory after different queries: of all kinds on a large catalog, or all to be kept."""
    rows = []
    large = catalogs.holding(size)
    mixed = list(chain.from_iterable(growth.pages(large).values()))
    for name, catalog, targets, bound, target in (
        (f"{size:,} images, nothing kept", large, [*mixed, VARIED], 0, _MEMORY),
        ("7 images, answers kept", catalogs.answering(SAMPLE), [VARIED], 64, None),
    ):
        resident, proportional = _memory(catalog, targets, folder / name, bound)
        measured = f"{resident:.1f} MB (Pss {proportional:.1f})"
        rows.append(Row(f"memory after {_QUERIES:,} queries, {name}", measured, "", resident, target))
    return Section("Memory of a worker", rows)


def start(times: int, catalogs: Catalogs, folder: Path) -> Section:
    """Start the service some times, and wait for its first answer."""
    taken = []
    for number in range(times):
        with running(service(catalogs.answering(SAMPLE), KEPT), folder / f"start-{number}") as server:
            taken.append(server.start)
    seconds = statistics.median(taken)
    return Section("Start", [Row("start to first answer", f"{seconds:.2f} s", "", seconds, _START)])


def _memory(catalog: Path, targets: Sequence[str], folder: Path, bound: int) -> tuple[float, float]:
    with running(service(catalog, IMAGES_ANSWERS_MB=str(bound)), folder) as server:
        for number, target in zip(range(1, _QUERIES + 1), cycle(targets), strict=False):
            server.get(re.sub("limit=[0-9]+", f"limit={number}", target.replace("{n}", str(number))))  # no two the same
        rollup = Path(f"/proc/{server.worker}/smaps_rollup").read_text()
    resident, proportional = (
        int(kilobytes) / _MEBI for kilobytes in re.findall(r"^(?:Rss|Pss): +(\d+) kB", rollup, re.MULTILINE)
    )
    return resident, proportional
