"""Times: RFC 3339 and some shorter forms as input; UTC, to the second, everywhere else."""

import re
import time
from datetime import UTC, datetime, timedelta

# RFC 3339, and what else has only one meaning in UTC: no seconds, an offset without its colon or minutes, a date.
_DATE_TIME = re.compile(
    r"(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"(?:[Tt](?P<minute>[0-9]{2}:[0-9]{2})(?:(?P<second>:[0-9]{2})(?:\.[0-9]+)?)?"
    r"(?P<offset>[Zz]|[+-][0-9]{2}(?::?[0-5][0-9])?))?"
)


class Clock:
    """The system's clock. Code that needs the time takes a clock as an argument, so that tests can set it."""

    def time(self) -> float:
        """Return the time in seconds since 1970 (Unix time)."""
        return time.time()

    def monotonic(self) -> float:
        """Return the seconds since some fixed moment, unaffected by changes of the system's time."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Block the thread."""
        time.sleep(seconds)

    def now(self) -> str:
        """Return the time in UTC, to the second."""
        return format_utc(datetime.fromtimestamp(self.time(), UTC))

    def days_ago(self, days: int) -> str:
        """Return the time that was this many days ago, in UTC, to the second."""
        return format_utc(datetime.fromtimestamp(self.time(), UTC) - timedelta(days=days))


SYSTEM_CLOCK = Clock()


def utc(text: str) -> str:
    """Convert a time to UTC, to the second: `2011-01-01T01:02:03Z`. Raises ValueError as `parse_time` does."""
    return format_utc(parse_time(text))


def parse_time(text: str) -> datetime:
    """Return a time in UTC. Fractions of a second are cut off.

    The time is one of RFC 3339. The seconds, and the colon or the minutes of the offset may be absent. A date alone
    means its first moment in UTC. Raises ValueError for other text, for a leap second, and outside the years 1 to 9999
    in UTC.
    """
    match = _DATE_TIME.fullmatch(text)
    if not match:
        raise ValueError(f"{text!r} is not an RFC 3339 date and time with a UTC offset")
    date, minute, second, offset = match.groups()
    if offset in {"Z", "z", None}:
        offset = "+00:00"
    try:
        return datetime.fromisoformat(f"{date}T{minute or '00:00'}{second or ''}{offset}").astimezone(UTC)
    except OverflowError as error:
        raise ValueError(f"{text!r} is outside the years 1 to 9999 in UTC") from error


def is_date_time(text: str) -> bool:
    """Return whether `parse_time` accepts the text."""
    try:
        parse_time(text)
    except ValueError:
        return False
    return True


def seconds(utc_time: str) -> float:
    """Return a time in UTC, as `utc` returns it, in seconds since 1970."""
    return datetime.fromisoformat(utc_time).timestamp()


def format_utc(moment: datetime) -> str:
    """Format an aware time in the form that the catalog stores: sorted as text, such times are in order."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="seconds") + "Z"
