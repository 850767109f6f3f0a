"""The clock of a test double."""

import time
from datetime import UTC, datetime

from app.timestamps import Clock, format_utc


class AdjustableClock(Clock):
    """A clock that runs with the system's clock until it is set to a time, at which it stands still."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Show the time of the system."""
        self._offset = 0.0
        self._fixed: float | None = None
        self._adjusted = self.time()

    def set(self, seconds: float) -> None:
        """Set it to a Unix time, at which it stands still."""
        self._fixed = self._adjusted = seconds

    def advance(self, seconds: float) -> None:
        """Move it forward, whether it stands still or runs."""
        if self._fixed is None:
            self._offset += seconds
        else:
            self._fixed += seconds
        self._adjusted = self.time()

    def time(self) -> float:
        """Return the Unix time in seconds."""
        return time.time() + self._offset if self._fixed is None else self._fixed

    def adjusted(self) -> str:
        """Return the time that it had when it was last reset, set or advanced, in UTC, to the second."""
        return format_utc(datetime.fromtimestamp(self._adjusted, UTC))
