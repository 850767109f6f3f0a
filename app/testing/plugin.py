"""The pytest plugin: the fixture `compute_images`."""

import os
from collections.abc import Iterator

import pytest

from .client import ComputeImages

_PYTHON = "compute_images_python"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add an option of pytest's configuration file."""
    parser.addini(_PYTHON, "interpreter that has compute-images; default: COMPUTE_IMAGES_PYTHON, or that of the tests")


@pytest.fixture(scope="session")
def _compute_images_service(pytestconfig: pytest.Config) -> Iterator[ComputeImages]:
    with ComputeImages(pytestconfig.getini(_PYTHON) or None) as service:
        yield service


@pytest.fixture
def compute_images(_compute_images_service: ComputeImages, monkeypatch: pytest.MonkeyPatch) -> ComputeImages:
    """Return a running Compute images API without images. It is started once for all tests, and reset for each.

    During the test, NO_PROXY has its address, so that no tool asks a proxy for it.
    """
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, ",".join(filter(None, ["127.0.0.1", os.environ.get(name)])))
    _compute_images_service.reset()
    return _compute_images_service
