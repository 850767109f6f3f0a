"""A copy, while its images change in the cloud and through the service: it is never wrong for longer than a pass."""

from collections.abc import Iterator, Sequence

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.properties.mirrored import (
    ME,
    SOME,
    YOU,
    Ask,
    Delete,
    Fail,
    FailedPass,
    Hide,
    Pass,
    Put,
    Share,
    Step,
    Wait,
    World,
    world,
)

numbers = st.integers(1, SOME)
fields = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["a", "b", "c", 5]),  # a number makes it malformed
        "visibility": st.sampled_from(["public", "private", "shared", "shared", "community"]),
        "status": st.sampled_from(["active", "active", "queued", "pending_delete"]),
        "owner": st.sampled_from([ME, ME, YOU]),
        "key": st.sampled_from(["1", "2"]),
        "sync_status_reason": st.just("theirs"),
    },
)
puts = st.builds(Put, numbers, fields)
asks = st.builds(
    Ask,
    numbers,
    st.sampled_from(["GET", "POST", "POST", "DELETE"]),
    st.sampled_from([{"key": "3"}, {"key": "4", "other": "5"}]),
)
passes = st.booleans().map(Pass)
# As often as they stand here.
KINDS: list[st.SearchStrategy[Step]] = [
    *[puts] * 4,
    *[passes] * 3,
    *[st.builds(Pass, st.booleans(), asks, st.booleans())] * 2,
    *[asks] * 2,
    *[st.builds(Fail, numbers, st.booleans())] * 2,
    *[st.builds(Share, numbers, st.sampled_from([ME, YOU]), st.sampled_from(["accepted", "pending", None]))] * 2,
    *[st.builds(Wait, st.sampled_from([0, 1, 30, 100]))] * 2,
    st.builds(Hide, numbers, st.booleans()),
    st.builds(Delete, numbers),
    st.builds(FailedPass, st.booleans()),
]
steps = st.sampled_from(KINDS).flatmap(lambda kind: kind)
starts = st.tuples(*(st.builds(Put, st.just(number), fields) for number in range(1, SOME + 1)))


@pytest.fixture(scope="module")
def mirrored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("mirrored")) as mirrored:
        yield mirrored


@given(start=starts, history=st.lists(steps, min_size=15, max_size=30))
@settings(max_examples=100, deadline=None, derandomize=True, phases=[Phase.generate])  # to shrink one takes minutes
def test_a_copy_has_what_passes_find_and_what_was_changed_since(
    mirrored: World, start: Sequence[Step], history: Sequence[Step]
) -> None:
    mirrored.restart()
    for step in (*start, Pass(whole=True), *history):
        mirrored.step(step)
    mirrored.settle()
    mirrored.check_listings()
