"""Extreme and hostile values: what the contract allows is stored as it is, and found again."""

import pytest

from app.catalog.engine import Engine
from app.catalog.reader import CatalogReader
from app.catalog.tokens import find_token
from app.errors import ImageNotFound, InvalidParameter
from tests.support.catalogs import add_images, exported, listed
from tests.support.images import Fields, image, stored_images
from tests.support.projects import PROJECT

TEXTS = {
    "quote": "O'Brien's \"x\"",
    "sql": "'; DROP TABLE images; --",
    "backslash": "a\\b\\",
    "percent": "%s %(name)s %% %",
    "parameter": "$1 ? :id {0}",
    "control": "\x01\x1f\x7f\t\n\r",
    "decomposed": "nai\u0308ve",
    "astral": "🐧\U0010ffff",
    "long": "\N{PENGUIN}" * 50_000,  # an entry of a B-tree holds less than 3 kB
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_any_text_is_stored_and_found_exactly(engine: Engine, text: str) -> None:
    images = (
        image(1, name=text, metadata={text: text, "instance_uuid": text}),
        image(2, name=text + " ", metadata={"instance_uuid": text + " "}),
    )
    add_images(engine, *images)
    assert exported(engine) == stored_images(*images)
    assert listed(engine, name=text) == [1]
    assert listed(engine, server=text) == [1]
    assert listed(engine, text) == [1, 2]  # as the id of a project


EXTREMES = [
    image(1, created="9999-12-31T23:59:59Z", updated="9999-12-31T23:59:59Z"),
    image(2, minDisk=2**31 - 1, minRam=2**31 - 1, **{"OS-EXT-IMG-SIZE:size": 2**53 - 1}),
    image(3, created="0001-01-01T00:00:00Z", updated="0001-01-01T00:00:00Z"),
]


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, [1, 2, 3]),
        ({"min_disk": 2**31 - 1}, [2]),
        ({"min_ram": 2**31 - 1}, [2]),
        ({"changes_since": "9999-12-31T23:59:59Z"}, [1]),
        ({"changes_since": "0001-01-01T00:00:00Z"}, [1, 2, 3]),
        ({"limit": 2**31 - 1}, [1, 2, 3]),
        ({"marker": EXTREMES[0]["id"]}, [2, 3]),
    ],
)
def test_numbers_and_times_have_the_range_of_the_contract(engine: Engine, filters: Fields, expected: list[int]) -> None:
    add_images(engine, *EXTREMES)
    assert exported(engine) == stored_images(*EXTREMES)
    assert listed(engine, **filters) == expected


def test_metadata_can_contain_the_character_nul(engine: Engine) -> None:
    images = (
        image(1, metadata={"a\0": "\0b", "instance_uuid": "a\0b", "image_type": "snapshot\0"}),
        image(2, metadata={"instance_uuid": "\0"}),
        image(3, metadata={"instance_uuid": "a"}),
    )
    add_images(engine, *images)
    assert exported(engine) == stored_images(*images)
    assert listed(engine, type_="SERVER") == [1, 2, 3]
    assert listed(engine, server="a\0b") == [1]
    assert listed(engine, server="a") == [3]


def test_other_text_with_the_character_nul_finds_nothing(engine: Engine) -> None:
    add_images(engine, image(1, name="a"))
    reader = CatalogReader(engine)
    assert listed(engine, name="a\0") == []
    assert listed(engine, f"{PROJECT}\0") == [1]  # which is public
    with pytest.raises(ImageNotFound):
        reader.get_image(PROJECT, f"{image(1)['id']}\0")
    with pytest.raises(ImageNotFound):
        reader.get_image("\0", image(2)["id"])
    with pytest.raises(InvalidParameter):
        listed(engine, marker=f"{image(1)['id']}\0")
    assert find_token(engine, "\0") is None
