"""Authorization while tokens expire, change and are revoked: no caller receives what is not for it, cached or not."""

from collections.abc import Iterator, Sequence
from math import inf

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.properties import histories
from tests.properties.harness import Harness, running, send
from tests.properties.histories import (
    ANONYMOUS,
    INTERVAL,
    ByEveryCaller,
    Issue,
    Race,
    ReadRequest,
    Repeat,
    Revoke,
    Step,
    Wait,
    Write,
    read_requests,
    writes,
)
from tests.support.catalogs import Catalogs
from tests.support.generator import PROJECTS

MOMENTS = (
    "before authentication",
    "before validation",
    "after validation",
    "before the query",
    "after the query",
)


@pytest.fixture(scope="module", params=["token", "keystone"])
def harness(
    request: pytest.FixtureRequest, catalogs: Catalogs, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Harness]:
    folder = tmp_path_factory.mktemp("callers")
    with catalogs(folder) as new_catalog, running(new_catalog("catalog"), request.param) as harness:
        yield harness


def every_caller(harness: Harness) -> tuple[str, ...]:
    """Return the names of all callers: with a token, with a forged one, and without."""
    return (*harness.callers.names, "forger", ANONYMOUS)


def steps(harness: Harness) -> st.SearchStrategy[list[Step]]:
    """Draw requests of all callers, and what happens between them."""
    names = every_caller(harness)
    happens = histories.events(harness.auth, *harness.callers.names) | histories.waits
    does = writes | histories.changes(*names) | read_requests(*names) | read_requests(*names) | histories.repeats
    return st.lists(happens | does, min_size=8, max_size=16)


def races(harness: Harness) -> st.SearchStrategy[Race]:
    """Draw a request of a caller that may be cached already, and what happens to its token during the request."""

    def by(request: ReadRequest) -> st.SearchStrategy[Race]:
        meanwhile = st.tuples(histories.events(harness.auth, request.caller), histories.waits)
        earlier = st.sampled_from([(), (request,)])
        return st.builds(Race, writes, earlier, st.just(request), st.sampled_from(MOMENTS), meanwhile)

    return read_requests(*harness.callers.names).flatmap(by)


def test_caller_receives_only_what_it_is_authorized_for(harness: Harness) -> None:
    @given(steps(harness), writes, read_requests(ANONYMOUS))
    @settings(max_examples=25, deadline=None, derandomize=True, phases=[Phase.generate])
    def check(steps: Sequence[Step], last: Write, request: ReadRequest) -> None:
        harness.restart()
        by_every_caller = ByEveryCaller(request, every_caller(harness))
        for step in (*steps, last, Repeat(conditional=False), by_every_caller, Wait(INTERVAL), by_every_caller):
            harness.step(step)

    check()
    large, small = (each.store.stats() for each in harness.cached)
    assert min(large.hits, large.misses, small.hits) > 20  # the histories used the caches


def test_token_change_during_a_request_takes_effect_in_time(harness: Harness) -> None:
    @given(races(harness))
    @settings(max_examples=30, deadline=None, derandomize=True, phases=[Phase.generate])
    def check(race: Race) -> None:
        by_every_caller = ByEveryCaller(race.request, every_caller(harness))
        harness.race(harness.cached[0], race, by_every_caller, Wait(INTERVAL), by_every_caller)

    check()


@given(lifetime=st.none() | st.integers(1, 100), waits=st.lists(st.integers(0, 50), max_size=4))
@settings(max_examples=30, deadline=None, derandomize=True, phases=[Phase.generate])
def test_token_is_valid_until_its_expiry_or_that_of_its_cached_validation(
    harness: Harness, lifetime: int | None, waits: list[int]
) -> None:
    harness.restart()
    request = ReadRequest("one", PROJECTS[0], "/detail")
    for step in (Issue("one", lifetime), request):
        harness.step(step)
    if harness.auth == "keystone":
        harness.step(Revoke("one", elsewhere=True))
    elapsed = 0
    for seconds in waits:
        harness.step(Wait(seconds))
        elapsed += seconds
        for service in harness.cached:
            deadline = min(lifetime or inf, service.token_cache_time if harness.auth == "keystone" else inf)
            received = send(service.client, request, harness.callers.tokens["one"])
            assert received.status == (200 if elapsed < deadline else 401)
