"""The same catalogs in SQLite and in PostgreSQL, which are created once and stored in a folder."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from app.catalog.engines import open_catalog
from app.catalog.postgresql.migrations import MIGRATIONS
from tests.bench.catalogs import Catalogs
from tests.support.postgresql import Cluster, stored_cluster

_TIMEOUT = 60.0  # seconds


class Pair(NamedTuple):
    """A catalog in SQLite, and the same in PostgreSQL."""

    sqlite: Path
    postgresql: str  # the URL


class Databases:
    """The databases of a server, one for each catalog and version of the tables."""

    def __init__(self, catalogs: Catalogs, server: Cluster) -> None:
        self.server = server
        self.catalogs = catalogs

    def pair(self, catalog: Path) -> Pair:
        """Return a catalog and its copy in PostgreSQL."""
        digest = hashlib.sha256(repr(MIGRATIONS).encode()).hexdigest()
        name = f"images_{catalog.parent.name}_{digest[:12]}"
        if not self.server.execute("SELECT 1 FROM pg_database WHERE datname = %s", name):
            engine = open_catalog(self.new("incomplete"))
            engine.restore(catalog, timeout=_TIMEOUT)
            engine.close()
            self.server.execute("VACUUM ANALYZE", database="incomplete")
            self.server.execute(f'ALTER DATABASE incomplete RENAME TO "{name}"')
        return Pair(catalog, self.server.url(name))

    def new(self, name: str, template: str = "template0") -> str:
        """Create a database, or replace it, and return its URL."""
        self.server.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        self.server.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY FILE_COPY')
        return self.server.url(name)


@contextmanager
def databases(folder: Path) -> Iterator[Databases]:
    """Run the server until the end of the block. Raises Missing."""
    catalogs = Catalogs(folder)
    with stored_cluster(folder / "postgresql") as server:
        yield Databases(catalogs, server)
