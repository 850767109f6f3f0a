"""What else the service costs: imports, memory, its start."""

import re
import statistics
from pathlib import Path

from tests.bench.catalogs import SAMPLE, Catalogs, copy, import_images
from tests.bench.report import Row, Section, Target
from tests.bench.servers import running
from tests.bench.specs import KEPT, VARIED, service
from tests.generator import images

_QUERIES = 1000
_MEBI = 1024  # kB

_FIRST, _ON_TOP = Target(25_000), Target(15_000)
_MEMORY, _START = Target(90, " MB", most=True), Target(1.5, " s", most=True)


def imports(many: int, top: int, catalogs: Catalogs, folder: Path) -> Section:
    """Import so many images into a new catalog, and as many on top of a larger one."""
    first = many / import_images(folder / "first.db", images(many, seed=1))
    larger = copy(catalogs.holding(top), folder)
    on_top = many / import_images(larger, images(many, seed=2))
    judged = many == 100_000
    return Section(
        "Import through the command, images a second",
        [
            Row(f"import, the first {many:,}", f"{first:,.0f}", "", first, _FIRST if judged else None),
            Row(f"import, {many:,} on top of {top:,}", f"{on_top:,.0f}", "", on_top, _ON_TOP if judged else None),
        ],
    )


def memory(catalogs: Catalogs, folder: Path) -> Section:
    """Look at a worker's memory after different queries, with and without kept answers."""
    rows = []
    for bound, kept, target in ((0, "nothing kept", _MEMORY), (64, "answers kept", None)):
        resident, proportional = _memory(catalogs.answering(SAMPLE), folder, bound)
        measured = f"{resident:.1f} MB (Pss {proportional:.1f})"
        rows.append(Row(f"memory after {_QUERIES:,} queries, {kept}", measured, "", resident, target))
    return Section("Memory of a worker", rows)


def start(times: int, catalogs: Catalogs, folder: Path) -> Section:
    """Start the service some times, and wait for its first answer."""
    taken = []
    for number in range(times):
        with running(service(catalogs.answering(SAMPLE), KEPT), folder / f"start-{number}") as server:
            taken.append(server.start)
    seconds = statistics.median(taken)
    return Section("Start", [Row("start to first answer", f"{seconds:.2f} s", "", seconds, _START)])


def _memory(catalog: Path, folder: Path, bound: int) -> tuple[float, float]:
    spec = service(catalog, IMAGES_ANSWERS_MB=str(bound))
    with running(spec, folder / f"memory-{bound}") as server:
        for number in range(1, _QUERIES + 1):
            server.get(VARIED.replace("{n}", str(number)))
        rollup = Path(f"/proc/{server.worker}/smaps_rollup").read_text()
    resident, proportional = (
        int(kilobytes) / _MEBI for kilobytes in re.findall(r"^(?:Rss|Pss): +(\d+) kB", rollup, re.MULTILINE)
    )
    return resident, proportional
