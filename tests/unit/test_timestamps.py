"""Times: RFC 3339 comes in, UTC to the second is kept."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.timestamps import format_utc, is_date_time, now, utc


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("2011-01-24T17:08:00Z", "2011-01-24T17:08:00Z"),
        ("2011-01-24t17:08:00z", "2011-01-24T17:08:00Z"),
        ("2011-01-24T17:08:00.999999999Z", "2011-01-24T17:08:00Z"),
        ("2011-01-24T17:08:00+01:30", "2011-01-24T15:38:00Z"),
        ("2011-01-24T17:08:00-00:00", "2011-01-24T17:08:00Z"),
        ("2012-02-29T23:59:59-23:59", "2012-03-01T23:58:59Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
        ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"),
    ],
)
def test_a_time_is_kept_in_utc_to_the_second(text: str, kept: str) -> None:
    assert utc(text) == kept


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2011-01-24",
        "2011-01-24T17:08Z",
        "2011-01-24T17:08:00",
        "2011-01-24 17:08:00Z",
        "2011-01-24T17:08:00.Z",
        "2011-01-24T17:08:00,5Z",
        "2011-01-24T17:08:00+0100",
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
def test_what_is_no_time_in_the_calendar_is_refused(text: str) -> None:
    assert not is_date_time(text)


ZONES = st.integers(-23 * 60 - 59, 23 * 60 + 59).map(lambda minutes: timezone(timedelta(minutes=minutes)))
TIMES = st.datetimes(datetime(2, 1, 1), datetime(9998, 12, 31), timezones=ZONES)  # noqa: DTZ001 Hypothesis wants it so


@given(TIMES)
def test_every_time_in_the_calendar_is_understood(time: datetime) -> None:
    assert datetime.fromisoformat(utc(time.isoformat())) == time.replace(microsecond=0)


@given(TIMES, TIMES)
def test_order_as_text_is_order_in_time(one: datetime, other: datetime) -> None:
    one, other = one.replace(microsecond=0), other.replace(microsecond=0)
    assert (format_utc(one) < format_utc(other)) == (one < other)


def test_now_is_now() -> None:
    assert abs(datetime.fromisoformat(now()) - datetime.now(UTC)) < timedelta(seconds=5)
