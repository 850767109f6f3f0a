"""Values in Python's types, and the form in which the service reads them."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

Duration: TypeAlias = timedelta | float  # seconds
Time: TypeAlias = datetime | str | Duration


class Headers(Mapping[str, str]):
    """The headers of a request, whose names can be written in any case. Values of a repeated one are joined by commas.

    They cannot be changed.
    """

    def __init__(self, fields: Iterable[tuple[str, str]]) -> None:
        self._values: dict[str, str] = {}
        for name, value in fields:
            earlier = self._values.get(name.lower())
            self._values[name.lower()] = value if earlier is None else f"{earlier}, {value}"

    def __getitem__(self, name: str) -> str:
        return self._values[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return repr(self._values)


def to_seconds(duration: Duration) -> float:
    """Return a duration in seconds. Raises ValueError for any other value."""
    if isinstance(duration, timedelta):
        return duration.total_seconds()
    if isinstance(duration, int | float) and math.isfinite(duration):
        return duration
    raise ValueError(f"{duration!r} is not a duration; expected a timedelta, or a number of seconds")


def to_utc(time: Time, now: Callable[[], datetime]) -> str:
    """Return a time as text in UTC; a duration begins `now`. Raises ValueError for any other value."""
    try:
        moment = datetime.fromisoformat(time) if isinstance(time, str) else time
        if isinstance(moment, timedelta | int | float):
            moment = now() + timedelta(seconds=to_seconds(moment))
        if isinstance(moment, datetime) and moment.tzinfo:
            return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="seconds") + "Z"
    except (ValueError, OverflowError):
        pass
    raise ValueError(
        f"{time!r} is not a time; expected a datetime with a UTC offset, text such as '2030-01-31T00:00:00Z', or a "
        "timedelta or a number of seconds from now"
    )
