"""Functions that are the types of the commands' parameters, and the check for optional dependencies."""

import re
from collections.abc import Callable, Iterator
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


def field_parser(name: str) -> Callable[[str], str]:
    """Return a function that returns a valid value of an image's field, as the schema of image files defines it."""

    def parse(value: str) -> str:
        try:
            validate_field(name, value)
        except InvalidImageFile as error:
            raise click.BadParameter(str(error)) from error
        return value

    return parse


def parse_base_url(value: str) -> str:
    """Return an http or https URL without user, query and fragment, and without a slash at its end."""
    if not is_base_url(value):
        raise click.BadParameter(f"{quote(value)} is not an http or https URL without user, query and fragment")
    return value.rstrip("/")


def read_token(value: str) -> str:
    """Return a token, which may have to be read: from @FILE, or - for standard input. No message contains it."""
    # After a ValueError, click would show the value, which may be the token.
    if value == "-" or value.startswith("@"):
        try:
            with click.open_file(value.removeprefix("@")) as file:
                value = file.read(_MAX_TOKEN_LENGTH + 2).strip()
        except (OSError, UnicodeDecodeError):
            raise click.BadParameter(f"{quote(value)} cannot be read as text") from None
    if not re.fullmatch(f"[!-~]{{1,{_MAX_TOKEN_LENGTH}}}", value):
        raise click.BadParameter(f"the token is not 1 to {_MAX_TOKEN_LENGTH} printable ASCII characters")
    return value


def parse_bind_address(value: str) -> str:
    """Return a host with a valid port, or `unix:` with a path that proxies can name, too."""
    match = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z._-]+):([0-9]{1,5})", value)
    if not (match and int(match[2]) <= _MAX_PORT) and not re.fullmatch(r"unix:(?!//)[^:\x00-\x1f\x7f]+", value):
        raise click.BadParameter(f"{quote(value)} is not HOST:PORT or unix:PATH, with a path without colons")
    return value


def parse_expiry(value: str) -> str:
    """Return a time in the future in UTC, given as a duration from now, or as a date and time."""
    try:
        expires = _from_now(value) or utc(value)
    except ValueError as error:
        raise click.BadParameter(
            f"{quote(value)} is not a time such as 90d, 12h, 30m or 2030-01-31T00:00:00Z"
        ) from error
    if expires <= SYSTEM_CLOCK.now():
        raise click.BadParameter(f"{quote(value)} is in the past")
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
