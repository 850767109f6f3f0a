"""Prism, from npm, kept in a folder."""

import shutil
import subprocess
from pathlib import Path

VERSION = "5.16.0"


def prism(cache: Path) -> tuple[str, str]:
    """Give the command, installed if need be, or why there is none."""
    folder = cache / f"prism-{VERSION}"
    command = folder / "node_modules" / ".bin" / "prism"
    if command.exists():
        return str(command), ""
    if shutil.which("npm") is None:
        return "", "there is no npm"
    package = f"@stoplight/prism-cli@{VERSION}"
    done = subprocess.run(
        ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(folder), package],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode or not command.exists():
        return "", f"npm could not install it: {(done.stderr or done.stdout).strip()[-200:]!r}"
    return str(command), ""
