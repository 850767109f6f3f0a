"""Image parts: built once for each version of the catalog, in bounded memory."""

from collections.abc import Sequence

import pytest

from app.catalog.image_parts import PartStore
from app.catalog.models import Image
from tests.support.images import image, stored_images


class Builder:
    """Builds parts that each take 1000 bytes of a store."""

    def __init__(self) -> None:
        self.store = PartStore(self.build, max_bytes=3_000)
        self.fails = False

    def build(self, images: Sequence[Image]) -> list[bytes]:
        """Return parts that contain the names of the images."""
        if self.fails:
            raise ValueError
        return [f"{each.name:>800}".encode() for each in images]

    def add(self, version: int | None, *sequences: int, name: str = "a") -> None:
        """Add images that were read from a version."""
        images = stored_images(*(image(number, name=name) for number in sequences))
        added = self.store.at(version).add(dict(zip(sequences, images, strict=True)))
        assert {sequence: part.strip() for sequence, part in added.items()} == dict.fromkeys(sequences, name.encode())

    def names(self, version: int | None, *sequences: int) -> list[bytes | None]:
        """Return the names in the stored parts."""
        return [part and part.strip() for part in self.store.at(version).find(sequences)]


@pytest.fixture
def parts() -> Builder:
    return Builder()


def test_parts_are_found_at_their_version_only(parts: Builder) -> None:
    parts.add(1, 1, 2)
    assert parts.names(1, 2, 3, 1) == [b"a", None, b"a"]
    assert parts.names(2, 1, 2) == [None, None]
    assert parts.names(1, 1, 2) == [None, None]


def test_parts_of_an_earlier_version_are_not_stored_with_those_of_a_later_one(parts: Builder) -> None:
    earlier, later = parts.store.at(1), parts.store.at(2)
    earlier.add({1: stored_images(image(1, name="a"))[0]})
    assert parts.store.bytes == 0
    assert later.find([1]) == [None]


def test_parts_without_a_version_are_not_stored(parts: Builder) -> None:
    parts.add(1, 1)
    parts.add(None, 1, 2, name="b")
    assert parts.names(None, 1) == [None]
    assert parts.names(1, 1, 2) == [b"a", None]


def test_oldest_parts_are_evicted_beyond_the_bound(parts: Builder) -> None:
    for number in range(5):
        parts.add(1, number)
        assert parts.store.bytes == min(number + 1, 3) * 1_000
    assert parts.names(1, *range(5)) == [None, None, b"a", b"a", b"a"]


def test_part_that_is_built_again_is_counted_once(parts: Builder) -> None:
    parts.add(1, 1)
    parts.add(1, 1, 2)
    assert parts.store.bytes == 2_000


def test_nothing_is_stored_of_images_whose_parts_cannot_be_built(parts: Builder) -> None:
    parts.fails = True
    with pytest.raises(ValueError):
        parts.add(1, 1)
    assert parts.names(1, 1) == [None]
