"""Requests a second: kept and not kept, beside the ceiling and the peers."""

import json
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path

from tests.bench import BenchError
from tests.bench.catalogs import PAGE, SAMPLE, Catalogs
from tests.bench.report import Row, Section, Target
from tests.bench.servers import Server, Spec, running
from tests.bench.specs import (
    CEILING,
    CONNEXION,
    FASTAPI,
    KEPT,
    SERVICE,
    LeftOut,
    ceiling,
    copied,
    guarded,
    peers,
    service,
)
from tests.bench.wrk import Effort, drive

KEPT_ANSWER, GUARDED, COPIED, LOGGED, NOT_MODIFIED = (
    "kept answer",
    "kept answer, a token asked for",
    "kept answer, from a copy",
    "kept answer, access log on",
    "304",
)

Rates = dict[str, float]
Run = Callable[[], float]
Peers = Sequence[Spec | LeftOut]

_TARGETS = {
    (KEPT_ANSWER, SAMPLE): Target(0.65),
    (KEPT_ANSWER, PAGE): Target(0.80),
    (GUARDED, SAMPLE): Target(0.90),
    (GUARDED, PAGE): Target(0.90),
    (COPIED, SAMPLE): Target(0.95),
    (COPIED, PAGE): Target(0.95),
    (CONNEXION, SAMPLE): Target(4),
    (CONNEXION, PAGE): Target(20),
    (FASTAPI, SAMPLE): Target(1.3),
    (FASTAPI, PAGE): Target(5),
    (NOT_MODIFIED, PAGE): Target(4),
}


def section(size: int, catalogs: Catalogs, folder: Path, effort: Effort) -> tuple[Section, Rates]:
    """Measure answers of so many images. Give requests a second by name too; the service's own is for not kept."""
    catalog = catalogs.answering(size)
    found = list(peers(catalog, size))
    rates = _measure(size, catalog, folder, effort, [each for each in found if isinstance(each, Spec)])
    return Section(f"Answers of {size} images, requests a second", list(_rows(size, rates, found))), rates


def _measure(size: int, catalog: Path, folder: Path, effort: Effort, specs: Sequence[Spec]) -> Rates:
    with ExitStack() as stack:
        ours = stack.enter_context(running(service(catalog), folder))
        answer = ours.get(KEPT)
        asked = stack.enter_context(running(guarded(catalog), folder / "guarded"))
        copy = stack.enter_context(running(copied(catalog, folder / "copy"), folder / "copied"))
        logged = stack.enter_context(running(service(catalog, IMAGES_ACCESS_LOG="json"), folder / "logged"))
        constant = stack.enter_context(running(ceiling(answer, folder / "answer"), folder))
        others = [stack.enter_context(running(spec, folder)) for spec in specs]
        _check([ours, asked, copy, *others], size)
        if constant.get().body != answer.body:
            raise BenchError("the ceiling does not send the answer of the service")
        runs: dict[str, Run] = {
            CEILING: lambda: drive(constant, effort),
            KEPT_ANSWER: lambda: drive(ours, effort, [KEPT]),
            GUARDED: lambda: drive(asked, effort),
            COPIED: lambda: drive(copy, effort),
            LOGGED: lambda: drive(logged, effort, [KEPT]),
            SERVICE: lambda: drive(ours, effort),
            **{each.spec.name: (lambda each=each: drive(each, effort)) for each in others},  # type: ignore[misc]
        }
        if size == PAGE:
            etag = dict(answer.headers)["etag"]
            runs[NOT_MODIFIED] = lambda: drive(ours, effort, [KEPT], **{"If-None-Match": etag})
        return interleaved(runs, effort.rounds)


def interleaved(runs: Mapping[str, Run], rounds: int) -> Rates:
    """Run each in turn, some rounds, so that what else the machine does falls on all. Give the median of each."""
    measured = defaultdict(list)
    for _ in range(rounds):
        for name, run in runs.items():
            measured[name].append(run())
    return {name: statistics.median(values) for name, values in measured.items()}


def _rows(size: int, rates: Rates, found: Peers) -> Iterator[Row]:
    yield Row(f"{CEILING}: the same bytes, nothing else", _rate(rates[CEILING]))
    yield _row(KEPT_ANSWER, size, rates, rates[KEPT_ANSWER] / rates[CEILING], "of the ceiling")
    yield _row(GUARDED, size, rates, rates[GUARDED] / rates[KEPT_ANSWER], "of a kept one without")
    yield _row(COPIED, size, rates, rates[COPIED] / rates[KEPT_ANSWER], "of one from another catalog")
    yield _row(LOGGED, size, rates, rates[LOGGED] / rates[CEILING], "of the ceiling")
    if NOT_MODIFIED in rates:
        yield _row(NOT_MODIFIED, size, rates, rates[NOT_MODIFIED] / rates[KEPT_ANSWER], "of a kept 200")
    yield Row("not kept: every query different", _rate(rates[SERVICE]))
    for each in found:
        if isinstance(each, LeftOut):
            yield Row(each.name, "left out", each.reason)
        else:
            yield _row(each.name, size, rates, rates[SERVICE] / rates[each.name], "not kept, against it")


def _row(name: str, size: int, rates: Rates, ratio: float, against: str) -> Row:
    return Row(name, _rate(rates[name]), against, ratio, _TARGETS.get((name, size)))


def _rate(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:,.1f}"


def _check(servers: Sequence[Server], size: int) -> None:
    """Raise BenchError unless all answer with so many images, and those that have the API's shape with the same."""
    expected = None
    for server in servers:
        document = json.loads(server.get().body)
        images = document if isinstance(document, list) else document["images"]
        if len(images) != size:
            raise BenchError(f"{server.spec.name} answers {len(images)} images, not {size}")
        if server.spec.name in {SERVICE, CONNEXION, FASTAPI}:
            expected = expected or images
            if images != expected:
                raise BenchError(f"{server.spec.name} does not answer as {SERVICE} does")
