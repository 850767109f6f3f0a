"""The response cache while another process writes: no response is outdated, or another caller's."""

from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.properties.harness import Harness, running
from tests.properties.histories import (
    ANONYMOUS,
    ANY_FORM,
    InEveryForm,
    Race,
    Repeat,
    Step,
    Write,
    changes,
    read_requests,
    repeats,
    writes,
)
from tests.support.catalogs import Catalogs

reads = read_requests(ANONYMOUS, how=ANY_FORM)
steps = st.lists(writes | changes(ANONYMOUS) | reads | reads | repeats, min_size=4, max_size=14)
races = st.builds(
    Race,
    start=writes,
    earlier=st.lists(reads, max_size=2),
    request=reads,
    moment=st.sampled_from(["before the query", "after the query"]),
    meanwhile=st.tuples(writes),
)


@pytest.fixture(scope="module")
def harness(catalogs: Catalogs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harness]:
    folder = tmp_path_factory.mktemp("responses")
    with catalogs(folder) as new_catalog, running(new_catalog("catalog"), "none") as harness:
        yield harness


def test_cached_response_equals_a_new_one(harness: Harness) -> None:
    @given(steps, writes, st.builds(InEveryForm, reads))
    @settings(max_examples=30, deadline=None, derandomize=True)
    def check(steps: Sequence[Step], last: Write, in_every_form: InEveryForm) -> None:
        harness.restart()
        for step in (*steps, last, Repeat(conditional=False), in_every_form):
            harness.step(step)

    check()
    large, small = (each.store.stats() for each in harness.cached)
    assert min(large.hits, large.misses, small.hits) > 200  # the histories used the caches
    assert small.misses > large.misses


@given(race=races)
@settings(max_examples=40, deadline=None, derandomize=True)
def test_write_during_a_request_is_in_the_next_response(harness: Harness, race: Race) -> None:
    for service in harness.cached:
        harness.race(service, race)
