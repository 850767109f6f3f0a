"""The sources of the package."""

import shutil
from pathlib import Path

import app

CHECKOUT = Path(app.__file__).parent.parent


def copy_sources(target: Path) -> None:
    """Copy what a wheel is built from into a new folder."""
    for name in (".github", "app", "data", "openapi"):
        shutil.copytree(CHECKOUT / name, target / name, ignore=shutil.ignore_patterns("__pycache__", "catalog.db*"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(CHECKOUT / name, target / name)
