"""Opening a catalog by its location."""

from pathlib import Path

from app.catalog.engine import Engine, FileEngine
from app.catalog.sqlite.engine import SQLiteEngine

_SQLITE, _IMMUTABLE = "sqlite:///", "?immutable=1"


def open_catalog(location: str | Path) -> Engine:
    """Return the engine of a catalog: a path, or a URL `sqlite:///path`. It is opened, or created, on first use.

    With `?immutable=1` at the end of the URL, nothing changes the file, and nothing is created beside it. Raises
    ValueError for other URLs.
    """
    text = str(location)
    path = text.removeprefix(_SQLITE)
    if "://" in path:
        raise ValueError("The location of a catalog is a path, or sqlite:///path.")
    if text.startswith(_SQLITE) and path.endswith(_IMMUTABLE):
        return SQLiteEngine(Path(path.removesuffix(_IMMUTABLE)), immutable=True)
    return SQLiteEngine(Path(path))


def open_file(path: Path) -> FileEngine:
    """Return the engine of a catalog in a file. It is opened, or created, on first use."""
    return SQLiteEngine(path)
