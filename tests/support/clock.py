"""The time, as tests have it: it stands still unless it is told to go on."""

from datetime import UTC, datetime, timedelta
from importlib import import_module

import pytest

from app.timestamps import format_utc

# Where the functions are looked for that tell the time to copies, and the module `time`.
_TOLD = {"catalog.replica": ("now",), "catalog.sqlite.writer": ("now", "days_ago")}
_TIMED = ("catalog.replica", "mirror.sync")


class Clock:
    """Stands in for those functions, and for the module `time`."""

    def __init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Set it to where it began."""
        self._time = datetime(2026, 1, 1, tzinfo=UTC)

    def tick(self, seconds: float = 1) -> None:
        """Let time pass."""
        self._time += timedelta(seconds=seconds)

    def time(self) -> float:
        """Tell it in seconds since 1970."""
        return self._time.timestamp()

    monotonic = time
    sleep = tick

    def now(self, *, later: float = 0) -> str:
        """Tell it in UTC, or what it will be some seconds later."""
        return format_utc(self._time + timedelta(seconds=later))

    def days_ago(self, days: int) -> str:
        """Tell what it was some days before."""
        return format_utc(self._time - timedelta(days=days))


def told_to_copies(patch: pytest.MonkeyPatch) -> Clock:
    """Give a clock that tells the time to copies, and to passes."""
    clock = Clock()
    for module, names in _TOLD.items():
        for name in names:
            patch.setattr(import_module(f"app.{module}"), name, getattr(clock, name))
    for module in _TIMED:
        patch.setattr(import_module(f"app.{module}"), "time", clock)
    return clock
