"""The command `python -m tests.bench`."""

import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

import click

from tests.bench import BenchError, costs, growth, mirroring, pythons, slow_reads, throughput, wrk
from tests.bench.catalogs import PAGE, SAMPLE, Catalogs
from tests.bench.chart import chart
from tests.bench.comparison import CACHED, NEW
from tests.bench.report import Section, facts, table
from tests.bench.rounds import Costs
from tests.bench.specs import CONNEXION, CONSTANT, DATASETTE, FASTAPI, PRISM, SERVICE
from tests.bench.wrk import Effort

_CHART = Path(__file__).with_name("chart.svg")
cache_option = click.option(
    "--cache",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(gettempdir()) / "compute-images-bench",
    show_default=True,
    help="Where to store catalogs between runs.",
)
SECTIONS = ("sample", "small-pages", "pages", "slow-reads", "growth", "memory", "start", "import", "mirror", "python")
_HIGHLIGHTED = {CACHED: f"{SERVICE}, cached response", NEW: f"{SERVICE}, new response"}
_BARS = {
    CONSTANT: f"{CONSTANT}, from an ASGI application",
    **_HIGHLIGHTED,
    **{name: name for name in (FASTAPI, CONNEXION, DATASETTE, PRISM)},
}


class Bench:
    """A run of the benchmark."""

    def __init__(self, cache: Path, folder: Path, effort: Effort, *, short: bool) -> None:
        self._catalogs = Catalogs(cache)
        self._folder = folder
        self._effort = effort
        self._sizes = growth.SIZES[:2] if short else growth.SIZES
        self._long_rounds = min(effort.rounds, 3)  # of imports and syncs, which take long
        self._imported = 1_000 if short else 100_000
        self._queries = 100 if short else 1_000
        self._mirrored = 30 if short else 3_000
        self._skewed = 1_000 if short else slow_reads.SIZE
        self._pythons = (pythons.current(),) if short else pythons.VERSIONS
        self.panels: dict[str, dict[str, float]] = {}

    def _add_panel(self, section: Section, measured: Costs) -> None:
        self.panels[section.title] = {bar: measured[name].cpu for name, bar in _BARS.items() if name in measured}

    def sections(self, names: tuple[str, ...]) -> Iterator[Section]:
        """Measure and yield the sections."""
        for name in names:
            click.echo(f"Measuring: {name}", err=True)
            yield from getattr(self, f"_{name.replace('-', '_')}")()

    def _sample(self) -> Iterator[Section]:
        section, measured = throughput.sample(self._catalogs, self._folder / "sample", self._effort)
        self._add_panel(section, measured)
        yield section

    def _small_pages(self) -> Iterator[Section]:
        yield throughput.pages(SAMPLE, self._catalogs, self._folder / "small-pages", self._effort)[0]

    def _pages(self) -> Iterator[Section]:
        section, measured = throughput.pages(PAGE, self._catalogs, self._folder / "pages", self._effort)
        self._add_panel(section, measured)
        yield section

    def _slow_reads(self) -> Iterator[Section]:
        yield slow_reads.section(self._skewed, self._catalogs, self._folder / "slow-reads", self._effort)

    def _growth(self) -> Iterator[Section]:
        measured = growth.measure(self._sizes, self._catalogs, self._folder / "growth", self._effort)
        yield growth.section(self._sizes, measured)

    def _import(self) -> Iterator[Section]:
        yield costs.imports(self._imported, self._sizes[-1], self._long_rounds, self._catalogs, self._folder)

    def _memory(self) -> Iterator[Section]:
        yield costs.memory(self._sizes[-1], self._queries, self._catalogs, self._folder)

    def _start(self) -> Iterator[Section]:
        yield costs.start(self._effort.rounds, self._catalogs, self._folder)

    def _mirror(self) -> Iterator[Section]:
        yield mirroring.section(self._mirrored, self._long_rounds, self._folder / "mirror")

    def _python(self) -> Iterator[Section]:
        yield pythons.section(self._pythons, self._catalogs, self._folder / "python", self._effort)


@click.command()
@click.option(
    "--rounds",
    type=click.IntRange(1),
    default=5,
    show_default=True,
    help="How many times to measure each server. Imports and syncs are measured 3 times at most.",
)
@click.option("--seconds", type=click.IntRange(1), default=2, show_default=True, help="How long to measure each time.")
@click.option("--short", is_flag=True, help="Only test that it runs: a round of a second, small catalogs, no chart.")
@click.option("--only", type=click.Choice(SECTIONS), multiple=True, help="Measure only this section.")
@click.option("--chart", "chart_file", type=click.Path(dir_okay=False, path_type=Path), help="The file of the chart.")
@cache_option
def main(  # noqa: PLR0913 one parameter for each option
    rounds: int, seconds: int, *, short: bool, only: tuple[str, ...], chart_file: Path | None, cache: Path
) -> None:
    """Measure the service and its peers on this machine."""
    if not wrk.is_installed():
        click.echo("wrk, which sends the requests, is not installed: apt-get install wrk", err=True)
        sys.exit(2)
    effort = Effort(1, 1, turns=1, connections=2) if short else Effort(rounds, seconds)
    names = tuple(name for name in SECTIONS if not only or name in only)
    try:
        with TemporaryDirectory(prefix="compute-images-bench-") as folder:
            bench = Bench(cache, Path(folder), effort, short=short)
            click.echo(f"{table(bench.sections(names))}\n\n{facts(effort)}")
    except BenchError as error:
        raise click.ClickException(str(error)) from error
    chart_file = chart_file or (None if short else _CHART)
    if chart_file and bench.panels:
        chart_file.write_text(chart(bench.panels, list(_HIGHLIGHTED.values())))


if __name__ == "__main__":
    main(prog_name="python -m tests.bench")
