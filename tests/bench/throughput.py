"""The CPU time of responses: cached ones, new ones, and those of other servers."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import product
from pathlib import Path

from tests.bench.catalogs import MANY, PAGE, SAMPLE, Catalogs, markers
from tests.bench.comparison import (
    CACHED,
    LOG,
    MANY_PROJECTS,
    METRICS,
    NEW,
    NOT_MODIFIED,
    ONE_PROJECT,
    REPLICA,
    TOKENS,
    Comparison,
)
from tests.bench.report import Row, Section, Target
from tests.bench.rounds import Costs
from tests.bench.servers import Spec
from tests.bench.specs import CONNEXION, CONSTANT, FASTAPI, SAME_API, VARIED_TARGET, Skipped, peers
from tests.bench.wrk import Effort

_KINDS = (CACHED, NEW)
_AGAINST = {
    **{kind + setting: kind for kind, setting in product(_KINDS, (LOG, METRICS, TOKENS, REPLICA))},
    CACHED: CONSTANT,
    CACHED + LOG: CONSTANT,
    NOT_MODIFIED: CACHED,
    MANY_PROJECTS: ONE_PROJECT,
}
_COMMON = {
    **{kind + setting: Target(0.95) for kind, setting in product(_KINDS, (METRICS, REPLICA))},
    **{kind + TOKENS: Target(0.90) for kind in _KINDS},
}
_TARGETS = {
    SAMPLE: _COMMON | {CACHED: Target(0.95), CACHED + LOG: Target(0.85), FASTAPI: Target(1.5), CONNEXION: Target(6.5)},
    PAGE: _COMMON
    | {CACHED: Target(0.97), NOT_MODIFIED: Target(4), MANY_PROJECTS: Target(0.6)}
    | {FASTAPI: Target(18), CONNEXION: Target(100)},
}
_NOTE = f"""\
CPU time of a response in all processes of the server: least of all rounds (median), and responses per second.
"{CONSTANT}": an ASGI application in the service's own worker that sends the bytes of the cached response.
"{CACHED}": the same query again. It can cost less than constant bytes, because no ASGI application is called for it.
"{NEW}": every query differs, so that no response is in the cache; other servers respond to the same queries."""


def sample(catalogs: Catalogs, folder: Path, effort: Effort) -> tuple[Section, Costs]:
    """Measure responses with the documented sample."""
    catalog = catalogs.public(SAMPLE)
    found = list(peers(catalog, SAMPLE))
    with ExitStack() as stack:
        comparison = Comparison(stack, folder, effort, SAMPLE, [VARIED_TARGET])
        comparison.add_service(catalog)
        comparison.add_peers(each for each in found if isinstance(each, Spec))
        costs = comparison.measure()
    return Section(f"Responses with {SAMPLE} images", list(_rows(costs, found, _TARGETS[SAMPLE])), _NOTE), costs


def pages(size: int, catalogs: Catalogs, folder: Path, effort: Effort) -> tuple[Section, Costs]:
    """Measure pages of so many images. Each new response is a different page of a larger catalog."""
    catalog = catalogs.public(MANY)
    found = [each for each in peers(catalogs.indexed(MANY), size) if size == PAGE or each.name in SAME_API]
    with ExitStack() as stack:
        queries = [f"{VARIED_TARGET}&limit={size}&marker={marker}" for marker in markers(catalog)[:-size]]
        comparison = Comparison(stack, folder, effort, size, queries)
        if size == PAGE:
            comparison.add_service(catalog)
            comparison.add_projects(catalog)
        else:
            comparison.add_new(catalog)
        comparison.add_peers(each for each in found if isinstance(each, Spec))
        costs = comparison.measure()
    title = f"Responses with {size} images; each new one is a different page of a list of {MANY:,}"
    targets = _TARGETS[PAGE] if size == PAGE else {}
    return Section(title, list(_rows(costs, found, targets))), costs


def _rows(costs: Costs, found: Sequence[Spec | Skipped], targets: Mapping[str, Target]) -> Iterator[Row]:
    others = {each.name: each for each in found}
    for name, cost in costs.items():
        base = _AGAINST.get(name)
        if base:
            yield Row(name, str(cost), base, costs[base].cpu / cost.cpu, targets.get(name))
        elif name not in others:
            yield Row(name, str(cost))
    for name, each in others.items():
        if isinstance(each, Skipped):
            yield Row(name, "skipped", each.reason)
        else:
            yield Row(name, str(costs[name]), "new, against it", costs[name].cpu / costs[NEW].cpu, targets.get(name))
