"""A catalog of ten thousand random images, and a client of it. Both are built once for all tests."""

from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from click.testing import CliRunner
from starlette.testclient import TestClient

from app.cli import main
from tests.conftest import client_of
from tests.support.generator import Document, images


@pytest.fixture(scope="session")
def crowd() -> list[Document]:
    """Return the images, in the order of the catalog file."""
    return list(images(10_000))


@pytest.fixture(scope="session")
def crowded_catalog(crowd: list[Document], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Import the images with the command; no test writes to the catalog."""
    folder = tmp_path_factory.mktemp("crowded")
    file, catalog = folder / "images.json", folder / "catalog.db"
    file.write_bytes(orjson.dumps({"images": crowd}))
    result = CliRunner().invoke(main, ["import", str(file)], env={"IMAGES_CATALOG": str(catalog)})
    assert result.exit_code == 0, result.output
    return catalog


@pytest.fixture(scope="session")
def crowded(crowded_catalog: Path) -> Iterator[TestClient]:
    """Serve the images with the default settings."""
    with client_of(crowded_catalog) as client:
        yield client
