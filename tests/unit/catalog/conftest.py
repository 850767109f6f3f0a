"""Catalogs of every engine. A further engine is one more parameter of `open_catalog`."""

from collections.abc import Callable
from pathlib import Path

import pytest

from app.catalog.engine import Engine
from app.catalog.sqlite.engine import SQLiteEngine
from tests.support.clock import FakeClock
from tests.unit.catalog.replicas import Replica

OpenCatalog = Callable[[str], Engine]


def _open_sqlite(folder: Path) -> OpenCatalog:
    return lambda name: SQLiteEngine(folder / f"{name}.db")


@pytest.fixture(params=[_open_sqlite], ids=["sqlite"])
def open_catalog(request: pytest.FixtureRequest, tmp_path: Path) -> OpenCatalog:
    """Return a function that opens the test's catalog of a name, which need not exist."""
    opener: OpenCatalog = request.param(tmp_path)
    return opener


@pytest.fixture
def engine(open_catalog: OpenCatalog) -> Engine:
    """Open a catalog that does not exist yet."""
    return open_catalog("catalog")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def replica(engine: Engine, clock: FakeClock) -> Replica:
    """Return a replica that no sync has written yet."""
    return Replica(engine, clock)
