"""Packages from npm."""

from pathlib import Path

from tests.support.packages import CACHE, install

# Without scripts: pkgcloud 1.7.0 would compile gRPC, which no test uses, for minutes.
_INSTALL = ("npm", "install", "--ignore-scripts", "--silent", "--no-audit", "--no-fund")


def modules(*packages: str) -> Path:
    """Return the folder `node_modules` that has these packages, such as `name@1.0.0`. Raises Missing."""
    folder = CACHE.get(packages, lambda folder: install(*_INSTALL, "--prefix", str(folder), *packages))
    return folder / "node_modules"
