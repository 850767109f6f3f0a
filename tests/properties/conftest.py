"""A catalog of ten thousand random images, and a client of it. Both are built once for all tests."""

from collections.abc import Iterator

import orjson
import pytest
from click.testing import CliRunner
from starlette.testclient import TestClient

from app.cli import main
from tests.conftest import client_of
from tests.support.catalogs import Catalogs
from tests.support.generator import Document, images


@pytest.fixture(scope="session")
def crowd() -> list[Document]:
    """Return the images, in the order of the catalog file."""
    return list(images(10_000))


@pytest.fixture(scope="session")
def crowded_catalog(
    catalogs: Catalogs, crowd: list[Document], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Import the images with the command; no test writes to the catalog."""
    file = tmp_path_factory.mktemp("crowded") / "images.json"
    file.write_bytes(orjson.dumps({"images": crowd}))
    with catalogs(file.parent) as new_catalog:
        catalog = new_catalog("catalog")
        result = CliRunner().invoke(main, ["import", str(file)], env={"IMAGES_CATALOG": catalog})
        assert result.exit_code == 0, result.output
        yield catalog


@pytest.fixture(scope="session")
def crowded(crowded_catalog: str) -> Iterator[TestClient]:
    """Serve the images with the default settings."""
    with client_of(crowded_catalog) as client:
        yield client
