"""The form of image files: validating and writing images."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cache

import jsonschema_rs
import orjson

from app.catalog.image_schema import field_defaults, image_schema
from app.catalog.models import ALL_STATED, Image, JsonObject, Metadata, StoredImage, Unstated, dump_json
from app.contract.schemas import Schema, compile_schema, describe, explain_error, is_valid
from app.errors import DomainError
from app.resources import resource_path
from app.text import normalize_project_id, quote

# The fields of image files that are stored, and their names in the catalog.
_OTHER_NAMES = {"minDisk": "min_disk", "minRam": "min_ram", "OS-EXT-IMG-SIZE:size": "size", "os_hidden": "hidden"}
_SAME_NAMES = ("name", "status", "progress", "created", "updated", "metadata", "owner", "visibility", "members")
_STORED_FIELDS: Mapping[str, str] = _OTHER_NAMES | {name: name for name in (*_SAME_NAMES, "pending_members")}
_IMPLIED_BY = {"progress": "status"}


class InvalidImageFile(DomainError):
    """An image file, an image in it or a field of the image does not conform to the schema."""


def parse_image(image: JsonObject) -> StoredImage:
    """Convert an image in the form of image files, with its status, progress and times. Raises InvalidImageFile."""
    for error in image_errors(image):
        raise InvalidImageFile(error)
    return to_stored_image(field_defaults() | image)


def is_valid_image(image: JsonObject) -> bool:
    """Return whether an image has no validation errors. This is faster than `image_errors`."""
    return is_valid(_image_validator(), image) and not _has_other_server(image)


def image_errors(image: JsonObject) -> Iterator[str]:
    """Yield the validation errors of an image: the field, its value, and what is accepted."""
    if not is_valid(_image_validator(), image):
        yield from _field_errors(image)
    elif _has_other_server(image):
        yield "server.id differs from the metadata item instance_uuid"


def validate_stored_image(image: StoredImage) -> str | None:
    """Return the first validation error of an image of the catalog, or None if it is valid."""
    return next(image_errors(_to_document(image)), None)


def first_invalid(images: Iterable[Image]) -> str | None:
    """Return the first validation error of images as the API shows them, or None if all are valid."""
    for image in images:
        try:
            document = image_fields(image) | {"visibility": "public"}  # which the API does not show
            orjson.dumps(document)
        except (TypeError, ValueError) as error:  # a damaged value, which is not even JSON
            return f"image {image.id}: {error}"
        for problem in image_errors(document):
            return f"image {image.id}: {problem}"
    return None


def validate_field(name: str, value: str) -> None:
    """Raise InvalidImageFile unless the value is valid for this field of an image."""
    if not is_valid_field(name, value):
        _, schema = _field_validators()[name]
        raise InvalidImageFile(f"{quote(value)} is not {describe(schema)}")


def is_valid_field(name: str, value: object) -> bool:
    """Return whether the value is valid for this field of an image."""
    validator, _ = _field_validators()[name]
    return validator.is_valid(value)


def load_sample() -> list[StoredImage]:
    """Return the sample images of the Compute API's documentation."""
    document = orjson.loads(resource_path("data/list-images-details.json").read_bytes())
    return [parse_image(image) for image in document["images"]]


def dump_images(images: Iterable[StoredImage], unstated: Unstated = ALL_STATED) -> Iterator[bytes]:
    """Yield the parts of an image file, image by image, without the fields that are not stated.

    Reading the file returns the same images.
    """
    separator = b'{"images": [\n'
    for image in images:
        missing = unstated.get(image.id, ())
        document = _to_document(image)
        if "metadata" in missing and document["metadata"]:  # which the server implies
            document["server"] = {"id": document["metadata"]["instance_uuid"]}
        yield separator + orjson.dumps({k: v for k, v in document.items() if _STORED_FIELDS.get(k) not in missing})
        separator = b",\n"
    yield b"\n]}\n" if separator == b",\n" else b'{"images": []}\n'


def image_fields(image: Image) -> JsonObject:
    """Return the fields of an image that the API shows, without links. An unknown size is left out."""
    fields = {
        "id": image.id,
        "name": image.name,
        "status": image.status,
        "progress": image.progress,
        "created": image.created,
        "updated": image.updated,
        "minDisk": image.min_disk,
        "minRam": image.min_ram,
        "metadata": image_metadata(image),
    }
    if image.size is not None:
        fields["OS-EXT-IMG-SIZE:size"] = image.size
    return fields


def image_metadata(image: Image) -> Metadata:
    """Return the metadata of an image."""
    return orjson.loads(image.metadata)  # type: ignore[no-any-return]


def unstated_fields(stated: Collection[str]) -> frozenset[str]:
    """Return which fields of the catalog are not stated by the fields that an image has in an image file."""
    return frozenset(
        name for field, name in _STORED_FIELDS.items() if field not in stated and _IMPLIED_BY.get(field) not in stated
    )


@cache
def _image_validator() -> jsonschema_rs.Validator:
    return compile_schema(image_schema())


@cache
def _field_validators() -> Mapping[str, tuple[jsonschema_rs.Validator, Schema]]:
    return {name: (compile_schema(schema), schema) for name, schema in image_schema()["properties"].items()}


def _field_errors(image: JsonObject) -> Iterator[str]:
    fields = _field_validators()
    for name in image:
        if name not in fields:
            yield f"{quote(name)} is not a field of image files"
    for name, (validator, schema) in fields.items():
        if name in image:
            error = explain_error(validator, schema, image[name], name)
            if error:
                yield error
        elif name in image_schema()["required"]:
            yield f"{name} is missing; expected {describe(schema)}"


def _has_other_server(image: JsonObject) -> bool:
    """Return whether the server of a valid image is not the one that its metadata names."""
    server = image.get("server", {}).get("id")
    return server not in {None, image.get("metadata", {}).get("instance_uuid") or server}


def to_stored_image(image: JsonObject) -> StoredImage:
    """Convert a valid image in the form of image files, with all of its fields."""
    metadata = image["metadata"]
    if "server" in image:
        metadata = metadata | {"instance_uuid": image["server"]["id"]}
    return StoredImage(
        id=image["id"],
        name=image["name"],
        status=image["status"],
        progress=0 if image["status"] == "DELETED" else image["progress"],
        created=image["created"],
        updated=image["updated"],
        min_disk=image["minDisk"],
        min_ram=image["minRam"],
        size=image["OS-EXT-IMG-SIZE:size"],
        metadata=dump_json(metadata),
        owner=image["owner"] and normalize_project_id(image["owner"]),
        visibility=image["visibility"],
        members=_dump_members(image["members"]),
        pending_members=_dump_members(image["pending_members"]),
        hidden=image["os_hidden"],
    )


def _dump_members(project_ids: Iterable[str]) -> str:
    return dump_json(sorted({normalize_project_id(project_id) for project_id in project_ids}))


def _to_document(image: StoredImage) -> JsonObject:
    """Return an image in the form of image files, with all fields: importing it has to change each of them."""
    return image_fields(image) | {
        "OS-EXT-IMG-SIZE:size": image.size,
        "owner": image.owner,
        "visibility": image.visibility,
        "members": orjson.loads(image.members),
        "pending_members": orjson.loads(image.pending_members),
        "os_hidden": image.hidden,
    }
