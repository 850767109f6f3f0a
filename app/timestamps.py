"""What a time is here: RFC 3339 on the way in; UTC, to the second, everywhere else."""

import re
from datetime import UTC, datetime, timedelta

_DATE_TIME = re.compile(
    r"(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})[Tt]"
    r"(?P<time>[0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.[0-9]+)?"
    r"(?P<offset>[Zz]|[+-][0-9]{2}:[0-5][0-9])"
)


def utc(text: str) -> str:
    """Turn an RFC 3339 time into UTC to the second, cutting off a fraction: `2011-01-01T01:02:03Z`.

    Raises ValueError for what is no such time, is a leap second, or leaves the years 1 to 9999 in UTC.
    """
    match = _DATE_TIME.fullmatch(text)
    if not match:
        raise ValueError(f"{text!r} is not a date and time with its offset")
    offset = "+00:00" if match["offset"] in "Zz" else match["offset"]
    try:
        return format_utc(datetime.fromisoformat(f"{match['date']}T{match['time']}{offset}"))
    except OverflowError as error:
        raise ValueError(f"{text!r} leaves the calendar in UTC") from error


def is_date_time(text: str) -> bool:
    """Tell whether `utc` takes the text."""
    try:
        utc(text)
    except ValueError:
        return False
    return True


def now() -> str:
    """Give the time of the call in UTC, to the second."""
    return format_utc(datetime.now(UTC))


def days_ago(days: int) -> str:
    """Give the time that was so many days before the call."""
    return format_utc(datetime.now(UTC) - timedelta(days=days))


def seconds(utc_time: str) -> float:
    """Give a time in UTC, as `utc` writes it, in seconds since 1970."""
    return datetime.fromisoformat(utc_time).timestamp()


def format_utc(time: datetime) -> str:
    """Write an aware time in the one form that the catalog keeps, whose order as text is the order in time."""
    return time.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="seconds") + "Z"
