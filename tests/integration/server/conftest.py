"""Shared fixtures: a running service, and a catalog with long responses."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.server.service import Service, serving
from tests.integration.server.wire import Connection
from tests.support.images import catalog_of, image

LIST = "/v2/openstack/images/detail"

GLANCE_URL = "https://glance.example.com"

MANY = 1000  # images, the maximum of one page


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run the service that most tests use, with two workers and the documented sample."""
    with serving(tmp_path_factory.mktemp("service"), workers=2, IMAGES_GLANCE_URL=GLANCE_URL) as running:
        yield running


@pytest.fixture
def connection(service: Service) -> Iterator[Connection]:
    with Connection(service.port) as connected:
        yield connected


@pytest.fixture(scope="session")
def large_catalog(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create a catalog of many images, which no test changes."""
    return catalog_of(tmp_path_factory.mktemp("large"), *(image(number) for number in range(MANY)))
