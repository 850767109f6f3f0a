"""Two machines serve one catalog in PostgreSQL, while their database and their network fail.

`python -m tests.integration.postgresql.fleet` does the same with more requests, and prints figures.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.integration.postgresql import scenarios
from tests.integration.postgresql.scenarios import Figures
from tests.integration.postgresql.site import Site, site, small_disk
from tests.support.packages import Missing

pytestmark = pytest.mark.external

T = TypeVar("T")
Run = Callable[..., Site]


@pytest.fixture
def disk() -> Iterator[Path]:
    """Mount a small disk until the end of the test."""
    with ExitStack() as stack:
        yield _enter(stack, small_disk)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Return a function that runs machines and their database until the end of the test."""
    with ExitStack() as stack:
        yield lambda **needs: _enter(stack, partial(site, tmp_path, **needs))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Run machines that are connected to their database through a network, for several tests."""
    needs: dict[str, Any] = {"with_networks": True, "max_connections": 30, "superuser_reserved_connections": 10}
    with ExitStack() as stack:
        yield _enter(stack, partial(site, tmp_path_factory.mktemp("site"), **needs))


def _enter(stack: ExitStack, open_context: Callable[[], AbstractContextManager[T]]) -> T:
    """Enter a context until the end of the stack, or skip the test if something that it needs is missing."""
    try:
        return stack.enter_context(open_context())
    except Missing as missing:
        pytest.skip(f"Missing: {missing}.")


def problems(site: Site) -> list[str]:
    """Return the problems since the last call."""
    found = site.fleet.model.problems.copy()
    site.fleet.model.problems.clear()
    return found


@pytest.mark.parametrize(
    "scenario",
    [
        pytest.param(partial(scenarios.run_steadily, responses=1000), id="steady"),
        pytest.param(partial(scenarios.restart, mode="fast"), id="fast restart"),
        pytest.param(partial(scenarios.restart, mode="immediate"), id="immediate restart"),
        pytest.param(partial(scenarios.terminate_backends, times=5), id="connections terminated"),
        pytest.param(partial(scenarios.silence, machine=0), id="silent network of the writers"),
        pytest.param(partial(scenarios.silence, machine=1), id="silent network of the readers"),
        pytest.param(partial(scenarios.refuse, machine=1), id="connections refused"),
        pytest.param(partial(scenarios.slow_down, delay=0.05, requests=20), id="slow network"),
        pytest.param(partial(scenarios.hang_writer, seconds=1), id="writer hangs"),
        pytest.param(scenarios.exhaust_connections, id="no connection left"),
    ],
)
def test_responses_are_never_stale_and_acknowledged_changes_are_never_lost(
    shared: Site, scenario: Callable[[Site], Figures]
) -> None:
    scenario(shared)
    assert problems(shared) == []


def test_change_whose_connection_is_terminated_in_its_transaction_is_not_made(shared: Site) -> None:
    assert scenarios.terminate_writer(shared) == {"status": 503, "is written": False}
    assert problems(shared) == []


def test_nothing_is_lost_with_the_machines_of_the_primary_and_of_a_service(run: Run) -> None:
    running = run(standby="synchronous", with_networks=True)
    scenarios.lose_machine(running)
    scenarios.kill_machine(running)
    assert problems(running) == []


def test_changes_that_an_asynchronous_standby_lacks_are_not_shown_after_its_promotion(run: Run) -> None:
    assert scenarios.lose_tail(run(standby="asynchronous")) == {
        "before": [(200, "2", "2"), (200, "3", "3"), (200, "4", "4")],
        "promoted": ("1", "1"),
        "after": [(200, "5", "5"), (200, "6", "6"), (200, "7", "7")],
    }


def test_reads_continue_while_the_disk_of_the_database_is_full(disk: Path, run: Run) -> None:
    running = run(tablespace=disk)
    figures = scenarios.fill_disk(running)
    assert (figures["status of a large change"], figures["afterwards"]) == (503, 200)
    assert problems(running) == []
