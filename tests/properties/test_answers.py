"""Answers that are kept, while another process writes: nobody is ever told what is stale, or what is for another."""

from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.properties.histories import (
    IN_ANY_WAY,
    NOBODY,
    Again,
    InAllWays,
    Race,
    Step,
    Write,
    again,
    asks,
    changes,
    writes,
)
from tests.properties.rig import Rig, running

reads = asks(NOBODY, how=IN_ANY_WAY)
steps = st.lists(writes | changes(NOBODY) | reads | reads | again, min_size=4, max_size=14)
races = st.builds(
    Race,
    start=writes,
    asked=st.lists(reads, max_size=2),
    ask=reads,
    moment=st.sampled_from(["before the query", "after the query"]),
    meanwhile=st.tuples(writes),
)


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with running(tmp_path_factory.mktemp("answers") / "catalog.db", "none") as rig:
        yield rig


def test_kept_answers_are_those_that_would_be_made(rig: Rig) -> None:
    @given(steps, writes, st.builds(InAllWays, reads))
    @settings(max_examples=30, deadline=None, derandomize=True)
    def check(steps: Sequence[Step], last: Write, in_all_ways: InAllWays) -> None:
        rig.restart()
        for step in (*steps, last, Again(knowing=False), in_all_ways):
            rig.step(step)

    check()
    much, little = (each.answers.statistics for each in rig.keepers)
    assert min(much.hits, much.misses, little.hits) > 200  # else nothing was tried
    assert little.misses > much.misses


@given(race=races)
@settings(max_examples=40, deadline=None, derandomize=True)
def test_a_write_in_the_middle_of_a_request_is_seen_by_the_next(rig: Rig, race: Race) -> None:
    for keeper in rig.keepers:
        rig.race(keeper, race)
