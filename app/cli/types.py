"""What the options of the command take, and what it needs for some."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import click

from app.catalog.documents import InvalidImageFile, validate_field
from app.settings import InvalidSetting
from app.text import quote
from app.timestamps import format_utc, now, utc

_MAX_PORT = 65535
_UNITS = {"d": "days", "h": "hours", "m": "minutes"}
_MAX_DAYS = 36_500


@contextmanager
def require_extra(name: str, needed_for: str) -> Iterator[None]:
    """Say in one line what to install, where that is missing which the block imports. Raises BadSetting."""
    try:
        yield
    except ImportError as error:
        needs = f"{needed_for} needs {error.name}, which is not installed: pip install 'compute-images[{name}]'"
        raise InvalidSetting(needs) from error


class ImageFieldType(click.ParamType[str]):
    """What a field of the images in a catalog file takes."""

    def __init__(self, name: str) -> None:
        self.name = name

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check the value against the schemas of catalog files."""
        try:
            validate_field(self.name, value)
        except InvalidImageFile as error:
            self.fail(str(error), param, ctx)
        return value


class BindAddressType(click.ParamType[str]):
    """Where to listen."""

    name = "HOST:PORT"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check that both are there, and the port is one."""
        match = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._-]+):([0-9]{1,5})", value)
        if not match or int(match[2]) > _MAX_PORT:
            self.fail(f"{quote(value)} is not HOST:PORT", param, ctx)
        return value


class ExpiryType(click.ParamType[str]):
    """When something ends, from now or by the calendar."""

    name = "TIME"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Give the time in UTC; it is still to come."""
        try:
            end = _from_now(value) or utc(value)
        except ValueError:
            self.fail(f"{quote(value)} is not like 90d, 12h, 30m or 2030-01-31T00:00:00Z", param, ctx)
        if end <= now():
            self.fail(f"{quote(value)} is over", param, ctx)
        return end


def _from_now(value: str) -> str | None:
    match = re.fullmatch("([0-9]{1,9})([dhm])", value)
    if not match:
        return None
    delay = timedelta(**{_UNITS[match[2]]: int(match[1])})
    if delay > timedelta(days=_MAX_DAYS):
        raise ValueError(value)
    return format_utc(datetime.now(UTC) + delay)
