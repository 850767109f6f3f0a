"""Catalogs of every engine, and replicas."""

from collections.abc import Callable

import pytest

from app.catalog import engines
from app.catalog.engine import Engine
from tests.support.catalogs import NewCatalog
from tests.support.clock import FakeClock
from tests.unit.catalog.replicas import Replica

OpenCatalog = Callable[[str], Engine]


@pytest.fixture
def open_catalog(new_catalog: NewCatalog) -> OpenCatalog:
    """Return a function that opens the test's catalog of a name, which need not exist."""
    return lambda name: engines.open_catalog(new_catalog(name))


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
