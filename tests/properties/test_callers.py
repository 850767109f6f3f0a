"""Who is told what, while tokens end, are revoked and change: nobody is told what is not for them, kept or not."""

from collections.abc import Iterator, Sequence
from math import inf

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.properties import histories
from tests.properties.histories import (
    NOBODY,
    WHILE,
    Again,
    Ask,
    ByEveryone,
    Issue,
    Pass,
    Race,
    Revoke,
    Step,
    Write,
    asks,
    writes,
)
from tests.properties.rig import Rig, running, tell
from tests.support.generator import TENANTS

MOMENTS = ("before the identity", "before the verdict", "after the verdict", "before the query", "after the query")


@pytest.fixture(scope="module", params=["token", "keystone"])
def rig(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with running(tmp_path_factory.mktemp("callers") / "catalog.db", request.param) as rig:
        yield rig


def everyone(rig: Rig) -> tuple[str, ...]:
    """Name those who call: who has a token, who has one that nobody issued, and who has none."""
    return (*rig.callers.names, "forger", NOBODY)


def steps(rig: Rig) -> st.SearchStrategy[list[Step]]:
    """Draw what is asked and changed by everyone, and what happens meanwhile."""
    names = everyone(rig)
    happens = histories.events(rig.auth, *rig.callers.names) | histories.passing
    does = writes | histories.changes(*names) | asks(*names) | asks(*names) | histories.again
    return st.lists(happens | does, min_size=8, max_size=16)


def races(rig: Rig) -> st.SearchStrategy[Race]:
    """Draw a request of someone who may be known already, and what happens to the token meanwhile."""

    def by(ask: Ask) -> st.SearchStrategy[Race]:
        meanwhile = st.tuples(histories.events(rig.auth, ask.caller), histories.passing)
        asked = st.sampled_from([(), (ask,)])
        return st.builds(Race, writes, asked, st.just(ask), st.sampled_from(MOMENTS), meanwhile)

    return asks(*rig.callers.names).flatmap(by)


def test_everyone_is_told_what_is_theirs(rig: Rig) -> None:
    @given(steps(rig), writes, asks(NOBODY))
    @settings(max_examples=25, deadline=None, derandomize=True, phases=[Phase.generate])
    def check(steps: Sequence[Step], last: Write, ask: Ask) -> None:
        rig.restart()
        by_everyone = ByEveryone(ask, everyone(rig))
        for step in (*steps, last, Again(knowing=False), by_everyone, Pass(WHILE), by_everyone):
            rig.step(step)

    check()
    much, little = (each.answers.statistics for each in rig.keepers)
    assert min(much.hits, much.misses, little.hits) > 50  # else nothing was tried


def test_what_happens_to_a_token_in_the_middle_of_a_request_is_seen_in_time(rig: Rig) -> None:
    @given(races(rig))
    @settings(max_examples=30, deadline=None, derandomize=True, phases=[Phase.generate])
    def check(race: Race) -> None:
        by_everyone = ByEveryone(race.ask, everyone(rig))
        rig.race(rig.keepers[0], race, by_everyone, Pass(WHILE), by_everyone)

    check()


@given(lasts=st.none() | st.integers(1, 100), passing=st.lists(st.integers(0, 50), max_size=4))
@settings(max_examples=30, deadline=None, derandomize=True, phases=[Phase.generate])
def test_an_answer_is_given_until_the_first_of_its_callers_deadlines(
    rig: Rig, lasts: int | None, passing: list[int]
) -> None:
    rig.restart()
    ask = Ask("one", TENANTS[0], "/detail")
    for step in (Issue("one", lasts), ask):
        rig.step(step)
    if rig.auth == "keystone":
        rig.step(Revoke("one", elsewhere=True))
    passed = 0
    for seconds in passing:
        rig.step(Pass(seconds))
        passed += seconds
        for keeper in rig.keepers:
            deadline = min(lasts or inf, keeper.seconds if rig.auth == "keystone" else inf)
            told = tell(keeper.client, ask, rig.callers.tokens["one"])
            assert told.status == (200 if passed < deadline else 401)
