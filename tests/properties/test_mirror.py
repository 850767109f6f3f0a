"""A replica whose images change in the cloud and through the service: a full sync always makes it correct."""

from collections.abc import Iterator, Sequence

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.properties.mirrored import (
    MAX_IMAGES,
    Delete,
    FailedSync,
    FailMembers,
    Hide,
    Put,
    Request,
    Share,
    Step,
    Sync,
    Wait,
    World,
    world,
)
from tests.support.catalogs import Catalogs
from tests.support.projects import OTHER_PROJECT, PROJECT

numbers = st.integers(1, MAX_IMAGES)
projects = st.sampled_from([PROJECT, OTHER_PROJECT])
fields = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["a", "b", "c", 5]),  # a number makes the image invalid
        "visibility": st.sampled_from(["public", "private", "shared", "shared", "community"]),
        "status": st.sampled_from(["active", "active", "queued", "pending_delete"]),
        "owner": st.sampled_from([PROJECT, PROJECT, OTHER_PROJECT]),
        "key": st.sampled_from(["1", "2"]),
        "sync_status_reason": st.just("upstream's"),
    },
)
puts = st.builds(Put, numbers, fields)
requests = st.builds(
    Request,
    numbers,
    st.sampled_from(["GET", "POST", "POST", "DELETE"]),
    st.sampled_from([{"key": "3"}, {"key": "4", "other": "5"}]),
)
# The factors are weights.
WEIGHTED_STEPS: list[st.SearchStrategy[Step]] = [
    *[puts] * 4,
    *[st.booleans().map(Sync)] * 3,
    *[st.builds(Sync, st.booleans(), requests, st.booleans())] * 2,
    *[requests] * 2,
    *[st.builds(FailMembers, numbers, st.booleans())] * 2,
    *[st.builds(Share, numbers, projects, st.sampled_from(["accepted", "pending", None]))] * 2,
    *[st.builds(Wait, st.sampled_from([0, 1, 30, 100]))] * 2,
    st.builds(Hide, numbers, st.booleans()),
    st.builds(Delete, numbers),
    st.builds(FailedSync, st.booleans()),
]
steps = st.sampled_from(WEIGHTED_STEPS).flatmap(lambda strategy: strategy)
starts = st.tuples(*(st.builds(Put, st.just(number), fields) for number in range(1, MAX_IMAGES + 1)))


@pytest.fixture(scope="module")
def mirrored(catalogs: Catalogs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with catalogs(tmp_path_factory.mktemp("mirrored")) as new_catalog, world(new_catalog("catalog")) as mirrored:
        yield mirrored


def test_replica_is_correct_after_every_step_of_a_random_history(mirrored: World) -> None:
    examples = 10 if mirrored.location.startswith("postgresql:") else 100  # a step opens several connections

    @given(start=starts, history=st.lists(steps, min_size=15, max_size=30))
    @settings(
        max_examples=examples, deadline=None, derandomize=True, phases=[Phase.generate]
    )  # shrinking takes minutes
    def check(start: Sequence[Step], history: Sequence[Step]) -> None:
        mirrored.restart()
        for step in (*start, Sync(full=True), *history):
            mirrored.step(step)
        mirrored.settle()
        mirrored.check_index()

    check()
