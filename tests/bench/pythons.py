"""The cost of responses with each version of Python that is installed here."""

import shutil
import sys
import tomllib
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from hashlib import sha256
from pathlib import Path

from tests.bench.catalogs import SAMPLE, Catalogs
from tests.bench.comparison import CACHED, NEW
from tests.bench.report import Row, Section
from tests.bench.rounds import Costs, costs
from tests.bench.servers import Server, Spec, running
from tests.bench.specs import CACHED_TARGET, VARIED_TARGET, service
from tests.bench.wrk import Effort, Load, drive
from tests.support.checkout import CHECKOUT, copy_sources
from tests.support.packages import CACHE, Missing, install

VERSIONS = ("3.11", "3.12", "3.13", "3.14")


def section(versions: Sequence[str], catalogs: Catalogs, folder: Path, effort: Effort) -> Section:
    """Measure the service with each version, and compare them with the first one."""
    catalog = catalogs.public(SAMPLE)
    skipped: list[Row] = []
    servers: dict[str, Server] = {}
    with ExitStack() as stack:
        for version in versions:
            try:
                spec = _installed(version, catalog, folder / version)
            except Missing as missing:
                skipped.append(Row(f"Python {version}", "skipped", str(missing)))
            else:
                servers[f"Python {version}"] = stack.enter_context(running(spec, folder / version))
        runs: dict[str, Callable[[], Load]] = {
            f"{kind}, {name}": partial(drive, server, effort, [target])
            for kind, target in ((CACHED, CACHED_TARGET), (NEW, VARIED_TARGET))
            for name, server in servers.items()
        }
        measured = costs(runs, effort.rounds)
    rows = [_row(name, next(iter(servers)), measured) for name in measured]
    return Section(f"Versions of Python, responses with {SAMPLE} images", rows + skipped)


def _row(name: str, first: str, measured: Costs) -> Row:
    kind, _, python = name.partition(", ")
    if python == first:
        return Row(name, str(measured[name]))
    return Row(name, str(measured[name]), first, measured[f"{kind}, {first}"].cpu / measured[name].cpu)


def current() -> str:
    """Return the version that runs the benchmark."""
    return "{}.{}".format(*sys.version_info)


def environment(version: str) -> Path:
    """Return a virtual environment with the packages that the service and its build need. Raises Missing."""
    python = shutil.which(f"python{version}")
    if not python:
        raise Missing(f"python{version} is not installed")
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
    packages = [*project["build-system"]["requires"], *project["project"]["dependencies"]]

    def install_into(folder: Path) -> None:
        install(python, "-m", "venv", str(folder))
        install(str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", *packages)

    return CACHE.get([f"python-{version}", sha256(repr(packages).encode()).hexdigest()[:8]], install_into)


def _installed(version: str, catalog: Path, folder: Path) -> Spec:
    """Install the service for a version of Python, and return how it is started. Raises Missing."""
    sources, target = folder / "sources", folder / "installed"
    python = str(environment(version) / "bin" / "python")
    copy_sources(sources)
    options = ("--quiet", "--no-deps", "--no-build-isolation", "--target", str(target))
    install(python, "-m", "pip", "install", *options, str(sources))
    spec = service(catalog, PYTHONPATH=str(target))
    return spec._replace(command=(str(target / "bin" / "compute-images"), *spec.command[1:]))
