"""The JSON Schema of image files, by which editors validate them, and the example."""

import jsonschema_rs
import orjson
import pytest

from app.catalog.documents import dump_images
from app.catalog.image_files import ImageFileReader
from app.catalog.image_schema import example_file, file_schema, image_schema
from app.mirror.mapping import to_file_image
from app.resources import resource_path
from tests.support.generator import images
from tests.support.images import Fields, image, image_id, stored_images

EXPORT = orjson.loads(b"".join(dump_images(stored_images(*images(50), image(1, name=None)))))
SAMPLES = {path.name: orjson.loads(path.read_bytes()) for path in resource_path("data").glob("*.json")}
MINIMAL: Fields = {"id": image_id(1), "name": "x"}


def errors(document: object) -> list[str]:
    validator = jsonschema_rs.Draft202012Validator(file_schema(), validate_formats=True)
    return [error.message for error in validator.iter_errors(document)]


def test_schema_is_a_json_schema_of_one_document() -> None:
    assert jsonschema_rs.meta.is_valid(file_schema())
    assert b"$ref" not in orjson.dumps(file_schema())


@pytest.mark.parametrize(
    "document",
    [{"images": [MINIMAL]}, {"$schema": "images.schema.json", "images": []}, example_file(), EXPORT, *SAMPLES.values()],
    ids=["minimal", "with the schema", "example", "export", *SAMPLES],
)
def test_image_files_are_valid(document: object) -> None:
    assert errors(document) == []


@pytest.mark.parametrize(
    "document",
    [{}, *({"images": [MINIMAL | fields]} for fields in ({"visiblity": "private"}, {"status": "BUILD"}, {"id": "1"}))],
    ids=str,
)
def test_mistakes_are_found(document: object) -> None:
    assert len(errors(document)) >= 1


def test_example_has_all_fields_and_is_imported_completely() -> None:
    minimal, full = example_file()["images"]
    assert list(minimal) == ["id", "name"]
    assert {*full, "links"} == image_schema()["properties"].keys()
    reader = ImageFileReader(strict=True, from_glance=to_file_image)
    content = reader.read([("example", orjson.dumps(example_file()))])
    assert [each.name for each in content.images] == [minimal["name"], full["name"]]
    assert list(content.unstated) == [minimal["id"]]
