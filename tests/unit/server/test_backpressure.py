"""The bound of the data that a worker buffers."""

import pytest

from app.server.backpressure import max_buffered_bytes


@pytest.mark.parametrize(("max_limit", "expected"), [(1, 16_000_000), (1000, 16_000_000), (100_000, 200_000_000)])
def test_bound_is_two_of_the_longest_pages(max_limit: int, expected: int) -> None:
    assert max_buffered_bytes(max_limit) == expected
