"""Times: RFC 3339 and shorter forms as input, UTC to the second as output, and the clock."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.timestamps import SYSTEM_CLOCK, format_utc, is_date_time, utc


@pytest.mark.parametrize(
    ("text", "converted"),
    [
        ("2011-01-24T17:08:00Z", "2011-01-24T17:08:00Z"),
        ("2011-01-24t17:08:00z", "2011-01-24T17:08:00Z"),
        ("2011-01-24T17:08:00.999999999Z", "2011-01-24T17:08:00Z"),
        ("2011-01-24T17:08:00+01:30", "2011-01-24T15:38:00Z"),
        ("2011-01-24T17:08:00-00:00", "2011-01-24T17:08:00Z"),
        ("2011-01-24T17:08:00+0130", "2011-01-24T15:38:00Z"),
        ("2011-01-24T17:08:00.5-06", "2011-01-24T23:08:00Z"),
        ("2011-01-24T17:08z", "2011-01-24T17:08:00Z"),
        ("2011-01-24T17:08-0600", "2011-01-24T23:08:00Z"),
        ("2011-01-24", "2011-01-24T00:00:00Z"),
        ("2012-02-29T23:59:59-23:59", "2012-03-01T23:58:59Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
        ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"),
    ],
)
def test_time_is_converted_to_utc_without_fraction(text: str, converted: str) -> None:
    assert utc(text) == converted


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2011-01",
        "2011-01-24Z",
        "2011-01-24T",
        "2011-01-24T17Z",
        "2011-01-24T17:08",
        "2011-01-24T17:08:00",
        "2011-01-24T17:08.5Z",
        "2011-01-24 17:08:00Z",
        "2011-01-24T17:08:00.Z",
        "2011-01-24T17:08:00,5Z",
        "2011-01-24T17:08:00+010",
        "2011-01-24T17:08:00+1",
        "2011-01-24T17:08:00+0060",
        "2011-01-24T17:08:00+24:00",
        "2011-01-24T17:08:00+00:60",
        "2011-01-24T24:00:00Z",
        "2011-01-24T17:08:60Z",
        "2011-02-29T00:00:00Z",
        "0000-12-31T00:00:00Z",
        "0001-01-01T00:00:00+00:01",
        "9999-12-31T23:59:59-00:01",
        "2011-01-24T17:08:00Z\n",
        "\N{ARABIC-INDIC DIGIT TWO}011-01-24T17:08:00Z",
    ],
)
def test_invalid_time_is_rejected(text: str) -> None:
    assert not is_date_time(text)


ZONES = st.integers(-23 * 60 - 59, 23 * 60 + 59).map(lambda minutes: timezone(timedelta(minutes=minutes)))
TIMES = st.datetimes(datetime(2, 1, 1), datetime(9998, 12, 31), timezones=ZONES)  # noqa: DTZ001 required by Hypothesis


@given(TIMES)
def test_any_time_and_offset_is_converted(time: datetime) -> None:
    assert datetime.fromisoformat(utc(time.isoformat())) == time.replace(microsecond=0)


@given(TIMES, TIMES)
def test_converted_times_sort_as_text(one: datetime, other: datetime) -> None:
    one, other = one.replace(microsecond=0), other.replace(microsecond=0)
    assert (format_utc(one) < format_utc(other)) == (one < other)


def test_clock_returns_the_current_time() -> None:
    assert abs(datetime.fromisoformat(SYSTEM_CLOCK.now()) - datetime.now(UTC)) < timedelta(seconds=5)
    past = datetime.fromisoformat(SYSTEM_CLOCK.days_ago(3))
    assert abs(past + timedelta(days=3) - datetime.now(UTC)) < timedelta(seconds=5)
