"""The pytest plugin: the fixture `compute_images`."""

from collections.abc import Iterator

import pytest

from .client import ComputeImages


@pytest.fixture(scope="session")
def _compute_images_service() -> Iterator[ComputeImages]:
    with ComputeImages() as service:
        yield service


@pytest.fixture
def compute_images(_compute_images_service: ComputeImages) -> ComputeImages:
    """Return a running Compute images API without images. It is started once for all tests, and reset for each."""
    _compute_images_service.reset()
    return _compute_images_service
