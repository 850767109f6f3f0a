"""Parameter types of the commands, and the check for optional dependencies."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import click

from app.catalog.documents import InvalidImageFile, validate_field
from app.settings import InvalidSetting, is_base_url
from app.text import pip_command, quote
from app.timestamps import SYSTEM_CLOCK, format_utc, utc

_MAX_PORT = 65535
_MAX_TOKEN_LENGTH = 16_384
_UNITS = {"d": "days", "h": "hours", "m": "minutes"}
_MAX_DAYS = 36_500


@contextmanager
def require_extra(name: str, needed_for: str) -> Iterator[None]:
    """Raise InvalidSetting, with the command to run, if the block imports a package that is not installed."""
    try:
        yield
    except ImportError as error:
        raise InvalidSetting(f"{needed_for} needs {error.name}, which is not installed: {pip_command(name)}") from error


class ImageFieldType(click.ParamType[str]):
    """A value of an image's field, as the schema of image files defines it."""

    def __init__(self, name: str) -> None:
        self.name = name

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the value if it is valid for the field."""
        try:
            validate_field(self.name, value)
        except InvalidImageFile as error:
            self.fail(str(error), param, ctx)
        return value


class BaseUrlType(click.ParamType[str]):
    """An http or https URL without user, query and fragment."""

    name = "URL"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the URL without a slash at its end."""
        if not is_base_url(value):
            self.fail(f"{quote(value)} is not an http or https URL without user, query and fragment", param, ctx)
        return value.rstrip("/")


class TokenType(click.ParamType[str]):
    """A token, or where to read it: @FILE, or - for standard input. No message contains it."""

    name = "TOKEN"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the token, without white space around it."""
        if value == "-" or value.startswith("@"):
            try:
                with click.open_file(value.removeprefix("@")) as file:
                    value = file.read(_MAX_TOKEN_LENGTH + 2).strip()
            except (OSError, UnicodeDecodeError):
                self.fail(f"{quote(value)} cannot be read as text", param, ctx)
        if not re.fullmatch(f"[!-~]{{1,{_MAX_TOKEN_LENGTH}}}", value):
            self.fail(f"the token is not 1 to {_MAX_TOKEN_LENGTH} printable ASCII characters", param, ctx)
        return value


class BindAddressType(click.ParamType[str]):
    """A host and a port, or the path of a Unix socket."""

    name = "HOST:PORT|unix:PATH"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the value if it has a host and a valid port, or a path that proxies can name, too."""
        match = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._-]+):([0-9]{1,5})", value)
        if not (match and int(match[2]) <= _MAX_PORT) and not re.fullmatch(r"unix:(?!//)[^:\x00-\x1f\x7f]+", value):
            self.fail(f"{quote(value)} is not HOST:PORT or unix:PATH, with a path without colons", param, ctx)
        return value


class ExpiryType(click.ParamType[str]):
    """A time in the future: a duration from now, or a date and time."""

    name = "TIME"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the time in UTC."""
        try:
            expires = _from_now(value) or utc(value)
        except ValueError:
            self.fail(f"{quote(value)} is not a time such as 90d, 12h, 30m or 2030-01-31T00:00:00Z", param, ctx)
        if expires <= SYSTEM_CLOCK.now():
            self.fail(f"{quote(value)} is in the past", param, ctx)
        return expires


def _from_now(value: str) -> str | None:
    """Return the end of a duration that begins now, or None if the value is not a duration."""
    match = re.fullmatch("([0-9]{1,9})([dhm])", value)
    if not match:
        return None
    delay = timedelta(**{_UNITS[match[2]]: int(match[1])})
    if delay > timedelta(days=_MAX_DAYS):
        raise ValueError(value)
    return format_utc(datetime.now(UTC) + delay)
