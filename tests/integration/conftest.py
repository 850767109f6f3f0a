"""Fixtures for tests with real programs."""

import pytest

from tests.support.catalogs import Catalogs, sqlite_catalogs


@pytest.fixture(scope="session")
def catalogs() -> Catalogs:
    """Return what provides new catalogs: SQLite's. Tests of one engine or the other open theirs themselves."""
    return sqlite_catalogs
