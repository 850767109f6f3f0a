"""Packages from npm."""

from pathlib import Path

from tests.support.packages import CACHE, install

_INSTALL = ("npm", "install", "--silent", "--no-audit", "--no-fund")


def modules(*packages: str) -> Path:
    """Return the folder `node_modules` that has these packages, such as `name@1.0.0`. Raises Missing."""
    folder = CACHE.get(packages, lambda folder: install(*_INSTALL, "--prefix", str(folder), *packages))
    return folder / "node_modules"
