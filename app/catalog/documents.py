"""Catalog files, which the command imports and exports. Their schemas are in openapi/catalog-file.yaml."""

from collections.abc import Iterable, Iterator
from functools import cache

import jsonschema_rs
import orjson

from app.catalog.models import Image, JsonObject, Metadata, StoredImage, dump_json
from app.contract.schemas import Schema, compile_schema, describe, first_error
from app.errors import DomainError
from app.resources import load_yaml, resource_path
from app.text import normalize_project_id, quote


def image_fields(image: Image | StoredImage) -> JsonObject:
    """Give what the API says of an image by itself; a size that is not known is left out."""
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


def image_metadata(image: Image | StoredImage) -> Metadata:
    """Give the items of an image."""
    return orjson.loads(image.metadata)  # type: ignore[no-any-return]


class InvalidImageFile(DomainError):
    """A file, or a field of an image, is not what the schemas say."""


class ImageFileReader:
    """Reads the catalog files of one import."""

    def __init__(self, *, owner: str | None, visibility: str) -> None:
        """Take whose the images are, and who may see them, where they do not say so themselves."""
        self._defaults = {"visibility": visibility} | ({"owner": owner} if owner is not None else {})
        self._file = compile_schema(_schemas())
        self._places: dict[str, tuple[str, int]] = {}

    def read(self, name: str, content: bytes) -> Iterator[StoredImage]:
        """Read the images of a file, in its order.

        Raises BadFile for the first that is not as the schemas say, or that this import had before.
        """
        try:
            document = orjson.loads(content)
        except orjson.JSONDecodeError as reason:
            raise InvalidImageFile(f"{name} is not JSON: {reason}") from None
        wrong = first_error(self._file, document)
        if wrong:
            raise InvalidImageFile(f"{name}: {wrong}")
        for number, image in enumerate(document["images"], 1):
            wrong = self._problem(name, number, image)
            if wrong:
                raise InvalidImageFile(f"{name}, image {number} (id {quote(str(image.get('id')))}): {wrong}")
            yield _to_stored_image(self._defaults | image)

    def _problem(self, name: str, number: int, image: JsonObject) -> str | None:
        wrong = _validation_error(image)
        if wrong:
            return wrong
        place = (name, number)
        earlier = self._places.setdefault(image["id"], place)
        return None if earlier is place else "the id came before, in {}, image {}".format(*earlier)


def parse_image(image: JsonObject) -> StoredImage:
    """Give what the catalog has of an image that says who sees it. Raises BadFile unless it is as the schemas say."""
    wrong = _validation_error(image)
    if wrong:
        raise InvalidImageFile(wrong)
    return _to_stored_image(image)


def validate_field(name: str, value: str) -> None:
    """Raise BadFile unless a field of an image may have the value."""
    schema = _schemas()["definitions"]["Image"]["properties"][name]
    if not compile_schema(schema).is_valid(value):
        raise InvalidImageFile(f"{quote(value)} is not {describe(schema)}")


def load_sample() -> list[StoredImage]:
    """Read the catalog that the API's own documentation shows."""
    path = resource_path("data/list-images-details.json")
    return list(ImageFileReader(owner=None, visibility="public").read(path.name, path.read_bytes()))


def dump_images(records: Iterable[StoredImage]) -> Iterator[bytes]:
    """Write a catalog file, image by image: reading it gives the same records."""
    separator = b'{"images": [\n'
    for record in records:
        yield separator + orjson.dumps(_to_document(record))
        separator = b",\n"
    yield b"\n]}\n" if separator == b",\n" else b'{"images": []}\n'


@cache
def _schemas() -> Schema:
    """Read the schemas, their references into the contract resolved."""
    folder = "file:///openapi/"
    contract = (f"{folder}compute-images.yaml", _yaml("openapi/compute-images.yaml"))
    return jsonschema_rs.dereference(
        _yaml("openapi/catalog-file.yaml"),
        registry=jsonschema_rs.Registry([contract]),
        base_uri=f"{folder}catalog-file.yaml",
    )


@cache
def _image_validator() -> jsonschema_rs.Validator:
    return compile_schema(_schemas()["definitions"]["Image"])


def _validation_error(image: JsonObject) -> str | None:
    """Say where an image is wrong first, and how; or None."""
    wrong = first_error(_image_validator(), image)
    if wrong:
        return wrong
    server = image.get("server", {}).get("id")
    if server not in {None, image["metadata"].get("instance_uuid") or server}:
        return "server.id is not the metadata's instance_uuid"
    return None


def _yaml(name: str) -> Schema:
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
        members=dump_json(sorted({normalize_project_id(tenant) for tenant in image.get("members", [])})),
    )


def _to_document(record: StoredImage) -> JsonObject:
    image = image_fields(record)
    if record.owner is not None:
        image["owner"] = record.owner
    return image | {"visibility": record.visibility, "members": orjson.loads(record.members)}
