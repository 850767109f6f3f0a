"""Fixtures for tests of the mirror."""

from collections.abc import Iterator

import pytest

from tests.support.fake_glance import FakeGlance, running_glance


@pytest.fixture
def glance() -> Iterator[FakeGlance]:
    with running_glance() as server:
        yield server
