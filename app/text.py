"""Quoting and escaping of text in messages, the pip command that messages suggest, and the normalization of ids."""

import re
import shlex
import sys
from uuid import UUID

_MAX_QUOTE_LENGTH = 100
_UUID = re.compile("[0-9A-Fa-f]{32}|[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")


def quote(value: str) -> str:
    """Quote a client's text for a message of one line: escaped, and truncated if it is long."""
    return repr(value if len(value) <= _MAX_QUOTE_LENGTH else value[:_MAX_QUOTE_LENGTH] + "…")


def escape_control_characters(text: str) -> str:
    """Escape characters that would break a line or control a terminal."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def normalize_uuid(text: str) -> str | None:
    """Return a UUID, which may have any case and no dashes, in lower case with dashes. Return None for other text."""
    return str(UUID(text)) if _UUID.fullmatch(text) else None


def normalize_project_id(project_id: str) -> str:
    """Return a project id in the form in which ids are stored and compared: a UUID in lower case and without dashes."""
    return project_id.lower().replace("-", "") if _UUID.fullmatch(project_id) else project_id


def pip_command(extra: str) -> str:
    """Return the command that installs the packages of an extra.

    compute-images itself is installed already, from a checkout or a wheel, so pip installs only these packages.
    """
    return f"{shlex.quote(sys.executable)} -m pip install 'compute-images[{extra}]'"
