"""Image files: reading, validating and writing them. Their schema is openapi/catalog-file.yaml."""

from collections.abc import Iterable, Iterator
from functools import cache

import jsonschema_rs
import orjson

from app.catalog.models import Image, JsonObject, Metadata, StoredImage, dump_json
from app.contract.schemas import Schema, compile_schema, describe, first_error
from app.errors import DomainError
from app.resources import load_yaml, resource_path
from app.text import normalize_project_id, quote


class InvalidImageFile(DomainError):
    """An image file, an image in it or a field of the image does not conform to the schema."""


class ImageFileReader:
    """Reads the image files of one import."""

    def __init__(self, *, owner: str | None, visibility: str) -> None:
        """Set the owner and the visibility of images that do not state their own."""
        self._defaults = {"visibility": visibility} | ({"owner": owner} if owner is not None else {})
        self._file_validator = compile_schema(_schemas())
        self._places: dict[str, tuple[str, int]] = {}

    def read(self, name: str, content: bytes) -> Iterator[StoredImage]:
        """Yield the images of a file, in its order.

        Raises InvalidImageFile for a malformed file, and for an image that is invalid or whose id already occurred in
        this import.
        """
        try:
            document = orjson.loads(content)
        except orjson.JSONDecodeError as reason:
            raise InvalidImageFile(f"{name} is not JSON: {reason}") from None
        error = first_error(self._file_validator, document)
        if error:
            raise InvalidImageFile(f"{name}: {error}")
        for number, image in enumerate(document["images"], 1):
            error = _first_error(image) or self._duplicate(name, number, image["id"])
            if error:
                raise InvalidImageFile(f"{name}, image {number} (id {quote(str(image.get('id')))}): {error}")
            yield _to_stored_image(self._defaults | image)

    def _duplicate(self, name: str, number: int, image_id: str) -> str | None:
        place = (name, number)
        earlier = self._places.setdefault(image_id, place)
        return None if earlier is place else "duplicate id, already in {}, image {}".format(*earlier)


def parse_image(image: JsonObject) -> StoredImage:
    """Convert an image in the form of image files, with its visibility stated. Raises InvalidImageFile."""
    error = _first_error(image)
    if error:
        raise InvalidImageFile(error)
    return _to_stored_image(image)


def validate_field(name: str, value: str) -> None:
    """Raise InvalidImageFile unless the value is valid for this field of an image."""
    schema = _schemas()["definitions"]["Image"]["properties"][name]
    if not compile_schema(schema).is_valid(value):
        raise InvalidImageFile(f"{quote(value)} is not {describe(schema)}")


def load_sample() -> list[StoredImage]:
    """Return the sample images of the Compute API's documentation."""
    path = resource_path("data/list-images-details.json")
    return list(ImageFileReader(owner=None, visibility="public").read(path.name, path.read_bytes()))


def dump_images(images: Iterable[StoredImage]) -> Iterator[bytes]:
    """Yield the parts of an image file, image by image. Reading the file returns the same images."""
    separator = b'{"images": [\n'
    for image in images:
        yield separator + orjson.dumps(_to_document(image))
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


@cache
def _schemas() -> Schema:
    """Return the schemas with their references into the contract resolved."""
    folder = "file:///openapi/"
    contract = (f"{folder}compute-images.yaml", _load_schema("openapi/compute-images.yaml"))
    return jsonschema_rs.dereference(
        _load_schema("openapi/catalog-file.yaml"),
        registry=jsonschema_rs.Registry([contract]),
        base_uri=f"{folder}catalog-file.yaml",
    )


@cache
def _image_validator() -> jsonschema_rs.Validator:
    return compile_schema(_schemas()["definitions"]["Image"])


def _first_error(image: JsonObject) -> str | None:
    """Return the first validation error of an image and its location, or None if the image is valid."""
    error = first_error(_image_validator(), image)
    if error:
        return error
    server = image.get("server", {}).get("id")
    if server not in {None, image["metadata"].get("instance_uuid") or server}:
        return "server.id differs from the metadata item instance_uuid"
    return None


def _load_schema(name: str) -> Schema:
    return load_yaml(resource_path(name).read_bytes())  # type: ignore[no-any-return]


def _to_stored_image(image: JsonObject) -> StoredImage:
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
        size=image.get("OS-EXT-IMG-SIZE:size"),
        metadata=dump_json(metadata),
        owner=normalize_project_id(image["owner"]) if "owner" in image else None,
        visibility=image["visibility"],
        members=dump_json(sorted({normalize_project_id(project_id) for project_id in image.get("members", [])})),
    )


def _to_document(image: StoredImage) -> JsonObject:
    document = image_fields(image)
    if image.owner is not None:
        document["owner"] = image.owner
    return document | {"visibility": image.visibility, "members": orjson.loads(image.members)}
