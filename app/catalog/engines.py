"""Opening a catalog by its location."""

from pathlib import Path

from app.catalog.engine import Engine
from app.catalog.sqlite.engine import SQLiteEngine

_SQLITE = "sqlite:///"


def open_catalog(location: str | Path) -> Engine:
    """Return the engine of a catalog: a path, or a URL `sqlite:///path`. It is opened, or created, on first use.

    Raises ValueError for other URLs.
    """
    path = str(location).removeprefix(_SQLITE)
    if "://" in path:
        raise ValueError("The location of a catalog is a path, or sqlite:///path.")
    return SQLiteEngine(Path(path))
