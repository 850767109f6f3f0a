"""Prism, from npm."""

from tests.support.npm import modules
from tests.support.packages import Missing

VERSION = "5.16.0"


def prism() -> tuple[str, str]:
    """Return the command, which is installed if need be, or the reason why it is missing."""
    try:
        return str(modules(f"@stoplight/prism-cli@{VERSION}") / ".bin" / "prism"), ""
    except Missing as missing:
        return "", str(missing)
