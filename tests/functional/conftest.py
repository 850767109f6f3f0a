"""Fixtures for the tests of the application, which do not depend on whether they create a catalog."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.catalogs import Catalogs, NewCatalog


@pytest.fixture
def new_catalog(catalogs: Catalogs, tmp_path: Path) -> Iterator[NewCatalog]:
    """Return a function that returns the location of the test's catalog of a name, which has no images."""
    with catalogs(tmp_path, may_exist=True) as new_catalog:
        yield new_catalog
