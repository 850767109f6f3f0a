"""An empty database, and a connection to it."""

from collections.abc import Iterator

import pytest

from app.catalog.postgresql.database import Connection, connect
from app.catalog.postgresql.url import parse_url
from tests.support.postgresql import Cluster


@pytest.fixture
def url(postgresql: Cluster) -> str:
    """Return the URL of an empty database."""
    return postgresql.url(postgresql.create_database())


@pytest.fixture
def connection(url: str) -> Iterator[Connection]:
    """Connect to the database, in autocommit mode."""
    with connect(parse_url(url)) as connection:
        yield connection
