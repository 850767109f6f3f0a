"""Image files: whatever the form of an image, the catalog stores what it would store of the strict form."""

from collections import Counter
from random import Random
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from app.catalog.documents import dump_images
from app.catalog.image_files import ImageFileReader, ImageFiles
from app.mirror.mapping import to_file_image
from tests.support.generator import images
from tests.support.images import Fields, stored_images

EXTRAS: Fields = {"tenant_id": None, "OS-DCF:diskConfig": "AUTO", "fault": {"code": 500}, "x": [[1]], "\n": 1.5, "": ""}
some_images = st.lists(st.sampled_from(list(images(300))), max_size=9, unique_by=lambda each: str(each["id"]))


def read(document: Any) -> ImageFiles:
    content = document if isinstance(document, bytes) else orjson.dumps(document)
    reader = ImageFileReader(owner=None, visibility="public", strict=False, from_glance=to_file_image)
    return reader.read([("file", content)])


def other_form(image: Fields, random: Random) -> Fields:
    """Return an image in another form, with fields that image files lack, in any order."""
    forms: dict[str, list[Any]] = {
        "id": [image["id"].upper(), image["id"].replace("-", "")],
        "status": [image["status"].lower(), image["status"].title()],
        "progress": [str(image["progress"]), float(image["progress"])],
        "minDisk": [str(image["minDisk"]), image["minDisk"] or None],
        "created": [image["created"].replace("Z", ".9Z"), image["created"].removesuffix("Z")],
        "updated": [image["updated"].replace("Z", "-00:00"), image["updated"].replace("T", " ")],
        "metadata": [{key: {"True": True}.get(value, value) for key, value in image["metadata"].items()}],
    }
    other = {name: random.choice([image[name], *values]) for name, values in forms.items()}
    extras = random.sample(list(EXTRAS.items()), random.randrange(3))
    fields = list((image | other | dict(extras)).items())
    random.shuffle(fields)
    return dict(fields)


@settings(deadline=None)
@given(strict=some_images, random=st.randoms(use_true_random=True))
def test_other_form_is_stored_as_the_strict_form(strict: list[Fields], random: Random) -> None:
    others = [other_form(each, random) for each in strict]
    shapes: list[Any] = [
        {"images": others},
        others,
        [{"images": [each]} for each in others],
        [{"image": each} for each in others],
    ]
    content = read(random.choice(shapes))
    assert content.images == stored_images(*strict)
    assert content.left_out == Counter(name for image in others for name in image if name in EXTRAS)


@settings(deadline=None)
@given(strict=some_images)
def test_import_of_an_export_is_the_identity(strict: list[Fields]) -> None:
    stored = stored_images(*strict)
    export = b"".join(dump_images(stored))
    assert read(export) == ImageFiles(stored)
    assert b"".join(dump_images(read(export).images)) == export
