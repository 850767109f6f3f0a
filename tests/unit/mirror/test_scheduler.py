"""The mirror's schedule: intervals, full syncs, and the backoff after failures."""

from collections.abc import Iterable
from itertools import pairwise
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.catalog.models import SyncCounts
from app.catalog.replica import UpstreamMismatch
from app.mirror.scheduler import Jitter, backoff, run_forever
from app.mirror.sync import Mirror, SyncFailed, SyncReport
from tests.support.clock import FakeClock

SUCCESS = SyncReport(is_full=False, images=0, counts=SyncCounts(0, 0, 0), failed={}, incomplete={}, seconds=0)
FAILURE = SyncFailed("A timeout occurred")


def no_jitter(low: float, _: float) -> float:
    return low


def full_jitter(_: float, high: float) -> float:
    return high


# --- backoff ---

intervals = st.floats(0.1, 1e6)


@given(intervals)
def test_without_failures_the_delay_is_the_interval(interval: float) -> None:
    assert backoff(interval, 0) == interval


@given(intervals, st.integers(1, 10_000))
def test_delay_after_failures_has_bounds(interval: float, failures: int) -> None:
    low = max(interval, min(300, interval * 2 ** min(failures, 30)))
    assert interval <= low <= backoff(interval, failures) <= low * 1.5


@pytest.mark.parametrize(
    ("interval", "jitter", "delays"),
    [
        (60, no_jitter, [120, 240, 300, 300]),
        (60, full_jitter, [180, 360, 450, 450]),
        (600, full_jitter, [900, 900, 900, 900]),
    ],
    ids=["no jitter", "full jitter", "long interval"],
)
def test_delay_doubles_up_to_five_minutes_or_the_interval_plus_jitter(
    interval: float, jitter: Jitter, delays: list[float]
) -> None:
    assert [backoff(interval, failures, jitter) for failures in (1, 2, 3, 9999)] == delays


def test_mirrors_that_failed_together_do_not_retry_together() -> None:
    assert len({backoff(60, 3) for _ in range(20)}) > 1


# --- the schedule ---


class EndOfTest(Exception):
    """The mirror has no results left."""


class FakeMirror:
    """A mirror whose syncs take some time and have given results."""

    def __init__(self, clock: FakeClock, *results: SyncReport | Exception, duration: float = 0) -> None:
        self.last_full_sync: float | None = None
        self.syncs: list[tuple[float, bool]] = []  # the start, and whether a full sync was requested
        self.reported: list[SyncReport | SyncFailed] = []
        self._results = [*results, EndOfTest()]
        self._clock = clock
        self._duration = duration
        self._started = clock.time()

    def sync(self, *, full: bool) -> SyncReport:
        """Return or raise the next result."""
        started = self._clock.time()
        self._clock.advance(self._duration)
        result = self._results.pop(0)
        if not isinstance(result, EndOfTest):
            self.syncs.append((started - self._started, full))
        if isinstance(result, Exception):
            raise result
        if full:
            self.last_full_sync = started
        return result

    def run(self, *, interval: float = 60, full_sync_interval: float = 1e9, error: type[Exception] = EndOfTest) -> None:
        """Run the schedule until a result ends it."""
        with pytest.raises(error):
            run_forever(
                cast("Mirror", self),
                interval=interval,
                full_sync_interval=full_sync_interval,
                report=self.reported.append,
                clock=self._clock,
                jitter=no_jitter,
            )

    @property
    def starts(self) -> list[float]:
        """Return when the syncs started."""
        return [start for start, _ in self.syncs]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.mark.parametrize(
    ("full_sync_interval", "seconds_since_last", "full_syncs"),
    [(180, None, [0, 180, 360]), (180, 90, [120, 300]), (0, None, range(0, 420, 60))],
    ids=["first start", "restart", "every sync"],
)
def test_full_syncs_are_due_at_their_interval(
    clock: FakeClock, full_sync_interval: float, seconds_since_last: float | None, full_syncs: Iterable[float]
) -> None:
    mirror = FakeMirror(clock, *[SUCCESS] * 7)
    mirror.last_full_sync = seconds_since_last and clock.time() - seconds_since_last
    mirror.run(interval=60, full_sync_interval=full_sync_interval)
    assert mirror.syncs == [(start, start in full_syncs) for start in range(0, 420, 60)]
    assert mirror.reported == [SUCCESS] * 7


@pytest.mark.parametrize(("duration", "starts"), [(59, [0, 60, 120]), (60, [0, 60, 120]), (75, [0, 75, 150])])
def test_interval_includes_the_duration_of_a_sync(clock: FakeClock, duration: float, starts: list[float]) -> None:
    mirror = FakeMirror(clock, *[SUCCESS] * 3, duration=duration)
    mirror.run()
    assert mirror.starts == starts


def test_delay_grows_with_consecutive_failures_until_a_success(clock: FakeClock) -> None:
    results: list[SyncReport | SyncFailed] = [SUCCESS, *[FAILURE] * 4, SUCCESS, SUCCESS, FAILURE, SUCCESS]
    mirror = FakeMirror(clock, *results)
    mirror.run()
    assert [later - earlier for earlier, later in pairwise(mirror.starts)] == [60, 120, 240, 300, 300, 60, 60, 120]
    assert mirror.reported == results


def test_full_sync_is_retried_until_it_succeeds(clock: FakeClock) -> None:
    mirror = FakeMirror(clock, FAILURE, FAILURE, SUCCESS, SUCCESS)
    mirror.run()
    assert [full for _, full in mirror.syncs] == [True, True, True, False]


def test_error_that_no_later_sync_can_solve_ends_the_schedule(clock: FakeClock) -> None:
    mirror = FakeMirror(clock, SUCCESS, UpstreamMismatch("catalog.db", "a", "b"))
    mirror.run(error=UpstreamMismatch)
    assert mirror.reported == [SUCCESS]
