"""A clock for tests: it stands still until a test advances it."""

from datetime import UTC, datetime

from app.timestamps import Clock, format_utc

_START = datetime(2026, 1, 1, tzinfo=UTC).timestamp()


class FakeClock(Clock):
    """A clock that only `advance` and `sleep` move."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Set it to its start."""
        self._time = _START

    def advance(self, seconds: float = 1) -> None:
        """Move it forward."""
        self._time += seconds

    def time(self) -> float:
        """Return the Unix time in seconds."""
        return self._time

    monotonic = time
    sleep = advance

    def now(self, *, offset: float = 0) -> str:
        """Return the time in UTC to the second, or what it will be after an offset in seconds."""
        return format_utc(datetime.fromtimestamp(self._time + offset, UTC))
