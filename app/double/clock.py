"""The clock of a test double."""

import time
from datetime import UTC, datetime

from app.timestamps import Clock, format_utc

_LATEST = datetime(9800, 1, 1, tzinfo=UTC).timestamp()  # durations can be added to it up to the year 9999


class AdjustableClock(Clock):
    """A clock that follows the system's clock until it is set to a time, at which it is frozen."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Follow the system's clock again."""
        self._offset = 0.0
        self._fixed: float | None = None
        self._adjusted = self.time()

    def set(self, seconds: float) -> None:
        """Freeze the clock at a Unix time."""
        self._fixed = seconds
        self._adjusted = self.time()

    def advance(self, seconds: float) -> None:
        """Move the clock forward, whether it is frozen or runs."""
        if self._fixed is None:
            self._offset += seconds
        else:
            self._fixed += seconds
        self._adjusted = self.time()

    def time(self) -> float:
        """Return the Unix time in seconds."""
        seconds = time.time() + self._offset if self._fixed is None else self._fixed
        return min(max(seconds, 0), _LATEST)

    def adjusted(self) -> str:
        """Return the time of the clock when it was last reset, set or advanced, in UTC, to the second."""
        return format_utc(datetime.fromtimestamp(self._adjusted, UTC))
