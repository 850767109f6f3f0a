"""Requests per second, with and without the response cache, against the ceiling and the peers."""

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
    CACHED_TARGET,
    CEILING,
    CONNEXION,
    FASTAPI,
    SERVICE,
    Skipped,
    authenticated,
    ceiling,
    peers,
    replicated,
    service,
)
from tests.bench.wrk import Effort, drive

CACHED, AUTHENTICATED, REPLICATED, LOGGED, MEASURED, UNCACHED_MEASURED, NOT_MODIFIED = (
    "cached",
    "cached, with authentication",
    "cached, from a replica",
    "cached, with an access log",
    "cached, with metrics",
    "not cached, with metrics",
    "304",
)

Rates = dict[str, float]
Run = Callable[[], float]
Peers = Sequence[Spec | Skipped]

_TARGETS = {
    (CACHED, SAMPLE): Target(0.65),
    (CACHED, PAGE): Target(0.80),
    (AUTHENTICATED, SAMPLE): Target(0.90),
    (AUTHENTICATED, PAGE): Target(0.90),
    (REPLICATED, SAMPLE): Target(0.95),
    (REPLICATED, PAGE): Target(0.95),
    (MEASURED, SAMPLE): Target(0.95),
    (MEASURED, PAGE): Target(0.95),
    (UNCACHED_MEASURED, SAMPLE): Target(0.95),
    (UNCACHED_MEASURED, PAGE): Target(0.95),
    (CONNEXION, SAMPLE): Target(4),
    (CONNEXION, PAGE): Target(20),
    (FASTAPI, SAMPLE): Target(1.3),
    (FASTAPI, PAGE): Target(5),
    (NOT_MODIFIED, PAGE): Target(4),
}


def section(size: int, catalogs: Catalogs, folder: Path, effort: Effort) -> tuple[Section, Rates]:
    """Measure responses with so many images. Return the rows, and requests per second by name.

    The rate of the service's own name is without the response cache.
    """
    catalog = catalogs.public(size)
    found = list(peers(catalog, size))
    rates = _measure(size, catalog, folder, effort, [each for each in found if isinstance(each, Spec)])
    return Section(f"Responses with {size} images, requests per second", list(_rows(size, rates, found))), rates


def _measure(size: int, catalog: Path, folder: Path, effort: Effort, specs: Sequence[Spec]) -> Rates:
    with ExitStack() as stack:
        plain = stack.enter_context(running(service(catalog), folder))
        response = plain.get(CACHED_TARGET)
        tokens = stack.enter_context(running(authenticated(catalog), folder / "authenticated"))
        replica = stack.enter_context(running(replicated(catalog, folder / "replica"), folder / "replicated"))
        logged = stack.enter_context(
            running(service(catalog, IMAGES_ACCESS_LOG="on", IMAGES_LOG_FORMAT="json"), folder / "logged")
        )
        measured = stack.enter_context(running(service(catalog, IMAGES_METRICS="on"), folder / "measured"))
        constant = stack.enter_context(running(ceiling(response, folder / "response"), folder))
        others = [stack.enter_context(running(spec, folder)) for spec in specs]
        _check([plain, tokens, replica, *others], size)
        if constant.get().body != response.body:
            raise BenchError("the ceiling does not send the response of the service")
        runs: dict[str, Run] = {
            CEILING: lambda: drive(constant, effort),
            CACHED: lambda: drive(plain, effort, [CACHED_TARGET]),
            AUTHENTICATED: lambda: drive(tokens, effort),
            REPLICATED: lambda: drive(replica, effort),
            LOGGED: lambda: drive(logged, effort, [CACHED_TARGET]),
            MEASURED: lambda: drive(measured, effort, [CACHED_TARGET]),
            SERVICE: lambda: drive(plain, effort),
            UNCACHED_MEASURED: lambda: drive(measured, effort),
            **{each.spec.name: (lambda each=each: drive(each, effort)) for each in others},  # type: ignore[misc]
        }
        if size == PAGE:
            etag = dict(response.headers)["etag"]
            runs[NOT_MODIFIED] = lambda: drive(plain, effort, [CACHED_TARGET], **{"If-None-Match": etag})
        return interleaved(runs, effort.rounds)


def interleaved(runs: Mapping[str, Run], rounds: int) -> Rates:
    """Run all in turn for some rounds, so that other load on the machine affects all. Return the medians."""
    measured = defaultdict(list)
    for _ in range(rounds):
        for name, run in runs.items():
            measured[name].append(run())
    return {name: statistics.median(values) for name, values in measured.items()}


def _rows(size: int, rates: Rates, found: Peers) -> Iterator[Row]:
    yield Row(f"{CEILING}: the same bytes, nothing else", _rate(rates[CEILING]))
    yield _row(CACHED, size, rates, rates[CACHED] / rates[CEILING], "of the ceiling")
    yield _row(AUTHENTICATED, size, rates, rates[AUTHENTICATED] / rates[CACHED], "of cached without")
    yield _row(REPLICATED, size, rates, rates[REPLICATED] / rates[CACHED], "of cached from another catalog")
    yield _row(LOGGED, size, rates, rates[LOGGED] / rates[CEILING], "of the ceiling")
    yield _row(MEASURED, size, rates, rates[MEASURED] / rates[CACHED], "of cached without")
    if NOT_MODIFIED in rates:
        yield _row(NOT_MODIFIED, size, rates, rates[NOT_MODIFIED] / rates[CACHED], "of a cached 200")
    yield Row("not cached: every query different", _rate(rates[SERVICE]))
    yield _row(UNCACHED_MEASURED, size, rates, rates[UNCACHED_MEASURED] / rates[SERVICE], "of not cached without")
    for each in found:
        if isinstance(each, Skipped):
            yield Row(each.name, "skipped", each.reason)
        else:
            yield _row(each.name, size, rates, rates[SERVICE] / rates[each.name], "not cached, against it")


def _row(name: str, size: int, rates: Rates, ratio: float, against: str) -> Row:
    return Row(name, _rate(rates[name]), against, ratio, _TARGETS.get((name, size)))


def _rate(rate: float) -> str:
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:,.1f}"


def _check(servers: Sequence[Server], size: int) -> None:
    """Raise BenchError unless all return so many images, and those that implement the API the same ones."""
    expected = None
    for server in servers:
        document = json.loads(server.get().body)
        images = document if isinstance(document, list) else document["images"]
        if len(images) != size:
            raise BenchError(f"{server.spec.name} returns {len(images)} images, not {size}")
        if server.spec.name in {SERVICE, CONNEXION, FASTAPI}:
            expected = expected or images
            if images != expected:
                raise BenchError(f"{server.spec.name} does not return what {SERVICE} does")
