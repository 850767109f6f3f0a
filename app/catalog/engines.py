"""Opening a catalog by its location."""

from pathlib import Path

from app.catalog.engine import Engine, FileEngine
from app.catalog.errors import CatalogUnavailable
from app.catalog.sqlite.engine import SQLiteEngine
from app.text import pip_command

_SQLITE, _IMMUTABLE = "sqlite:///", "?immutable=1"
_POSTGRESQL = ("postgresql://", "postgres://")


def open_catalog(location: str | Path) -> Engine:
    """Return the engine of a catalog: a path, or a URL `sqlite:///path`. It is opened, or created, on first use.

    With `?immutable=1` at the end of such a URL, nothing changes the file, and nothing is created beside it. A URL
    `postgresql://…` is a connection URI of libpq. Raises CatalogUnavailable if this URI is invalid or psycopg is not
    installed, and ValueError for other URLs.
    """
    text = str(location)
    if text.startswith(_POSTGRESQL):
        return _open_postgresql(text)
    path = text.removeprefix(_SQLITE)
    if "://" in path:
        raise ValueError("The location of a catalog is a path, sqlite:///path, or postgresql://….")
    if text.startswith(_SQLITE) and path.endswith(_IMMUTABLE):
        return SQLiteEngine(Path(path.removesuffix(_IMMUTABLE)), immutable=True)
    return SQLiteEngine(Path(path))


def open_file(path: Path) -> FileEngine:
    """Return the engine of a catalog in a file. It is opened, or created, on first use."""
    return SQLiteEngine(path)


def _open_postgresql(url: str) -> Engine:
    try:
        from app.catalog.postgresql.engine import PostgreSQLEngine  # noqa: PLC0415 only these URLs need the extra
    except ImportError as error:
        package = (error.name or "libpq").partition(".")[0]  # psycopg states no name if it finds no libpq
        raise CatalogUnavailable(
            f"IMAGES_CATALOG is a postgresql:// URL, which needs {package}, which is not installed: "
            f"{pip_command('postgres')}"
        ) from error
    return PostgreSQLEngine(url, open_file)
