"""Runs syncs forever, with a growing backoff while they fail."""

import random
from collections.abc import Callable

from app.mirror.sync import Mirror, SyncFailed, SyncReport
from app.timestamps import SYSTEM_CLOCK, Clock

_MAX_BACKOFF_SECONDS = 300
_MAX_DOUBLINGS = 16  # an exponent without a bound would overflow

Jitter = Callable[[float, float], float]  # returns a number between two others


def run_forever(  # noqa: PLR0913 each is a dependency or a limit
    mirror: Mirror,
    *,
    interval: float,
    full_sync_interval: float,
    report: Callable[[SyncReport | SyncFailed], None],
    clock: Clock = SYSTEM_CLOCK,
    jitter: Jitter = random.uniform,
) -> None:
    """Run incremental and full syncs at their intervals (seconds), with a backoff after failures.

    Never returns. Raises the errors of `Mirror.sync` that a retry cannot solve.
    """
    failures = 0
    while True:
        started = clock.monotonic()
        try:
            last_full_sync = mirror.last_full_sync
            is_due = last_full_sync is None or clock.time() - last_full_sync >= full_sync_interval
            report(mirror.sync(full=is_due))
        except SyncFailed as error:
            failures += 1
            report(error)
        else:
            failures = 0
        clock.sleep(max(0.0, started + backoff(interval, failures, jitter) - clock.monotonic()))


def backoff(interval: float, failures: int, jitter: Jitter = random.uniform) -> float:
    """Return the seconds from the start of one sync to the next, after a number of consecutive failures.

    The delay doubles with each failure, up to five minutes or the interval if that is longer. Up to half of it is added
    at random, so that the mirrors of a cloud do not all return at the same moment after an outage.
    """
    if failures == 0:
        return interval
    delay = max(interval, min(_MAX_BACKOFF_SECONDS, interval * 2.0 ** min(failures, _MAX_DOUBLINGS)))
    return jitter(delay, delay * 1.5)
