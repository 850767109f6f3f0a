"""Catalog files, which the command imports and exports. Their schemas are in openapi/catalog-file.yaml."""

from collections.abc import Iterable, Iterator
from functools import cache

import jsonschema_rs
import orjson

from app.catalog import Record, as_json
from app.faults import DomainError, quote
from app.resources import parsed, resource
from app.schemas import Schema, compile_schema, in_words, problem
from app.tenants import comparable
from app.views import Document, image_fields


class BadFile(DomainError):
    """A file, or a field of an image, is not what the schemas say."""


class CatalogFiles:
    """Reads the catalog files of one import."""

    def __init__(self, *, owner: str | None, visibility: str) -> None:
        """Take whose the images are, and who may see them, where they do not say so themselves."""
        self._defaults = {"visibility": visibility} | ({"owner": owner} if owner is not None else {})
        self._file = compile_schema(_schemas())
        self._places: dict[str, tuple[str, int]] = {}

    def read(self, name: str, content: bytes) -> Iterator[Record]:
        """Read the images of a file, in its order.

        Raises BadFile for the first that is not as the schemas say, or that this import had before.
        """
        try:
            document = orjson.loads(content)
        except orjson.JSONDecodeError as reason:
            raise BadFile(f"{name} is not JSON: {reason}") from None
        wrong = problem(self._file, document)
        if wrong:
            raise BadFile(f"{name}: {wrong}")
        for number, image in enumerate(document["images"], 1):
            wrong = self._problem(name, number, image)
            if wrong:
                raise BadFile(f"{name}, image {number} (id {quote(str(image.get('id')))}): {wrong}")
            yield _record(self._defaults | image)

    def _problem(self, name: str, number: int, image: Document) -> str | None:
        wrong = _wrong(image)
        if wrong:
            return wrong
        place = (name, number)
        earlier = self._places.setdefault(image["id"], place)
        return None if earlier is place else "the id came before, in {}, image {}".format(*earlier)


def record_of(image: Document) -> Record:
    """Give what the catalog has of an image that says who sees it. Raises BadFile unless it is as the schemas say."""
    wrong = _wrong(image)
    if wrong:
        raise BadFile(wrong)
    return _record(image)


def check_field(name: str, value: str) -> None:
    """Raise BadFile unless a field of an image may have the value."""
    schema = _schemas()["definitions"]["Image"]["properties"][name]
    if not compile_schema(schema).is_valid(value):
        raise BadFile(f"{quote(value)} is not {in_words(schema)}")


def sample() -> list[Record]:
    """Read the catalog that the API's own documentation shows."""
    path = resource("data/list-images-details.json")
    return list(CatalogFiles(owner=None, visibility="public").read(path.name, path.read_bytes()))


def written(records: Iterable[Record]) -> Iterator[bytes]:
    """Write a catalog file, image by image: reading it gives the same records."""
    separator = b'{"images": [\n'
    for record in records:
        yield separator + orjson.dumps(_document(record))
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
def _image() -> jsonschema_rs.Validator:
    return compile_schema(_schemas()["definitions"]["Image"])


def _wrong(image: Document) -> str | None:
    """Say where an image is wrong first, and how; or None."""
    wrong = problem(_image(), image)
    if wrong:
        return wrong
    server = image.get("server", {}).get("id")
    if server not in {None, image["metadata"].get("instance_uuid") or server}:
        return "server.id is not the metadata's instance_uuid"
    return None


def _yaml(name: str) -> Schema:
    return parsed(resource(name).read_bytes())  # type: ignore[no-any-return]


def _record(image: Document) -> Record:
    metadata = image["metadata"]
    if "server" in image:
        metadata = metadata | {"instance_uuid": image["server"]["id"]}
    return Record(
        id=image["id"],
        name=image["name"],
        status=image["status"],
        progress=0 if image["status"] == "DELETED" else image["progress"],
        created=image["created"],
        updated=image["updated"],
        min_disk=image["minDisk"],
        min_ram=image["minRam"],
        size=image.get("OS-EXT-IMG-SIZE:size"),
        metadata=as_json(metadata),
        owner=comparable(image["owner"]) if "owner" in image else None,
        visibility=image["visibility"],
        members=as_json(sorted({comparable(tenant) for tenant in image.get("members", [])})),
    )


def _document(record: Record) -> Document:
    image = image_fields(record)
    if record.owner is not None:
        image["owner"] = record.owner
    return image | {"visibility": record.visibility, "members": orjson.loads(record.members)}
