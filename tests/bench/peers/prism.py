"""Prism, from npm."""

from tests.kept import Missing
from tests.npm import modules

VERSION = "5.16.0"


def prism() -> tuple[str, str]:
    """Give the command, installed if need be, or why there is none."""
    try:
        return str(modules(f"@stoplight/prism-cli@{VERSION}") / ".bin" / "prism"), ""
    except Missing as missing:
        return "", str(missing)
