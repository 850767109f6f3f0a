"""The cost of a response in catalogs of different sizes, without a response cache."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from sqlite_utils import Database

from tests.bench.catalogs import Catalogs
from tests.bench.report import Row, Section, Target
from tests.bench.rounds import Costs, costs
from tests.bench.servers import running
from tests.bench.specs import service
from tests.bench.wrk import Effort, drive
from tests.support.generator import PROJECTS

SIZES = (1_000, 10_000, 100_000, 1_000_000)
_BASE, _MAX_RATIO = 10_000, Target(1.5, most=True)

_PROJECT = PROJECTS[0]
_PATH = f"/v2/{_PROJECT}/images/detail"
_NAMES = ("ubuntu-14.04", "debian-14.10", "windows-16.04", "fj_sa_20180427_007")
_TYPES = ("BASE", "SERVER", "snapshot")
_MIDDLE = "2018-07-01"  # of the years in which the generator's images were created

_MARKERS = """
SELECT id FROM images
WHERE created < ? AND status <> 'DELETED' AND (visibility = 'public' OR owner = ?)
ORDER BY created DESC LIMIT 100
"""


def measure(sizes: Sequence[int], catalogs: Catalogs, folder: Path, effort: Effort) -> Costs:
    """Measure each kind of page in each size of catalog. Return the costs by both."""
    with ExitStack() as stack:
        runs = {}
        for size in sizes:
            catalog = catalogs.shared(size)
            spec = service(catalog, f"{_PATH}?limit=1", IMAGES_RESPONSE_CACHE_MB="0")
            server = stack.enter_context(running(spec, folder / str(size)))
            for name, targets in pages(catalog).items():
                runs[_key(name, size)] = partial(drive, server, effort, targets)
        return costs(runs, effort.rounds)


def section(sizes: Sequence[int], measured: Costs) -> Section:
    """Return the rows: the CPU time that a response takes in each size."""
    return Section(
        f"New responses, µs of CPU time, in catalogs of {' / '.join(f'{size:,}' for size in sizes)} images",
        [_row(name, sizes, measured) for name in dict.fromkeys(key.partition(" in ")[0] for key in measured)],
    )


def _row(name: str, sizes: Sequence[int], measured: Costs) -> Row:
    times = {size: measured[_key(name, size)].cpu for size in sizes}
    base, largest = max(size for size in sizes[:-1] if size <= _BASE), sizes[-1]
    target = _MAX_RATIO if largest == SIZES[-1] else None
    return Row(
        name,
        " / ".join(f"{time:,.0f}" for time in times.values()),
        f"{largest:,} against {base:,}",
        times[largest] / times[base],
        target,
    )


def pages(catalog: Path) -> Mapping[str, Sequence[str]]:
    """Return the targets of each page. From ten thousand images on, all pages are full."""
    database = Database(catalog)
    markers = [row[0] for row in database.execute(_MARKERS, [_MIDDLE, _PROJECT])]
    database.close()
    return {
        "first page": [f"{_PATH}?limit=100"],
        "filtered page (name)": [f"{_PATH}?limit=20&name={name}" for name in _NAMES],
        "filtered page (status and type)": [f"{_PATH}?limit=20&status=ERROR&type={each}" for each in _TYPES],
        "page from the middle": [f"{_PATH}?limit=100&marker={marker}" for marker in markers],
        "empty changes-since poll": [_PATH + "?changes-since=2100-01-01T00:00:00.{n}Z"],
    }


def _key(name: str, size: int) -> str:
    return f"{name} in {size}"
