"""The forms in which clouds return images, and their conversion to the form of image files."""

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any, NamedTuple

import orjson

from app.catalog.documents import InvalidImageFile
from app.catalog.image_schema import field_defaults, image_schema, summary_schema
from app.catalog.models import JsonObject
from app.contract.schemas import Schema
from app.text import normalize_uuid, quote
from app.timestamps import utc

# The statuses of Glance, each with Compute's status and progress.
GLANCE_STATUSES: Mapping[str, tuple[str, int]] = {
    "active": ("ACTIVE", 100),
    "queued": ("SAVING", 25),
    "saving": ("SAVING", 50),
    "uploading": ("UNKNOWN", 0),
    "importing": ("UNKNOWN", 0),
    "deactivated": ("UNKNOWN", 0),
    "killed": ("ERROR", 0),
    "deleted": ("DELETED", 0),
    "pending_delete": ("DELETED", 0),
}
_NEVER_NULL = frozenset({"status", "created", "updated", "visibility"})
_MIN_SIMILARITY = 0.8  # of misspelt names of fields; tenant_id, for example, is not similar to id
_INTEGER = re.compile("[0-9]{1,19}")  # of 64 bits
_MAX_FLOAT = 2**53  # from here on, floats cannot represent every integer
_TIME = re.compile(
    r"(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})[Tt _]"
    r"(?P<hour>[0-9]{2})[:-](?P<minute>[0-9]{2})(?:[:-](?P<second>[0-9]{2})(?:\.[0-9]+)?)?"
    r"(?:[Zz]|(?P<offset_hour>[+-][0-9]{2}):?(?P<offset_minute>[0-9]{2}))?"
)


class ImageDocument(NamedTuple):
    """A document with images: one page of a list, a complete list, or a single image."""

    images: list[Any]
    is_list: bool
    links: frozenset[str] = frozenset()  # relations to other pages: next, previous


def recognize_documents(content: Any) -> Iterator[ImageDocument]:
    """Yield the documents of a JSON file: one, or an array of them. Raises InvalidImageFile for any other content."""
    match content:
        case [{"images": _} | {"image": _}, *_]:
            yield from map(_recognize, content)
        case list():
            yield ImageDocument(content, is_list=True)
        case _:
            yield _recognize(content)


def _recognize(document: Any) -> ImageDocument:
    match document:
        case {"images": list(images)}:
            return ImageDocument(images, is_list=True, links=_page_links(document))
        case {"image": dict(image)} | ({"id": _} as image):
            return ImageDocument([image], is_list=False)
    raise InvalidImageFile(
        'it contains no images; accepted are {"images": [...]}, {"image": {...}}, an array of images, and one image'
    )


def _page_links(document: JsonObject) -> frozenset[str]:
    """Return the relations of the links to other pages, as in Compute (`images_links`) and in Glance (`next`)."""
    links = document.get("images_links") or []
    relations = {_relation(link) for link in (links if isinstance(links, list) else [links])}
    return frozenset(relations | {"next"} if document.get("next") else relations)


def _relation(link: Any) -> str:
    """Return the relation of a link. One that does not state it counts as a link to the next page."""
    return str(link.get("rel", "next")) if isinstance(link, dict) else "next"


def is_summary(image: Any) -> bool:
    """Return whether an image has the fields of a list without details. Its links tell it from a minimal image."""
    return isinstance(image, dict) and {"id", "links"} <= image.keys() <= summary_schema()["properties"].keys()


def is_glance_image(image: JsonObject) -> bool:
    """Return whether an image has the form of Glance v2."""
    return "created_at" in image and ("schema" in image or not {"created", "updated"} <= image.keys())


def select_fields(image: JsonObject) -> tuple[JsonObject, list[str]]:
    """Return the fields that an image has in image files, and the names of its other fields."""
    schema = image_schema()
    known, others = _split(image, schema)
    if isinstance(known.get("server"), dict):
        server, others_of_server = _split(known["server"], schema["properties"]["server"])
        return known | {"server": server}, [*others, *(f"server.{name}" for name in others_of_server)]
    return known, others


def similar_field(name: str) -> str | None:
    """Return the field that a name of another field is probably meant for: they differ in case or a few characters."""
    fields = {_simplify(each): each for each in image_schema()["properties"]}
    if name in fields.values() or name.startswith("server."):
        return None
    similar = get_close_matches(_simplify(name), fields, n=1, cutoff=_MIN_SIMILARITY)
    return fields[similar[0]] if similar else None


def unknown_field(name: str) -> str:
    """Return the validation error for a field that image files do not have."""
    meant = similar_field(name)
    return f"{quote(name)} is not a field of image files{f'; did you mean {quote(meant)}?' if meant else ''}"


def normalize_image(image: JsonObject) -> JsonObject:
    """Convert the values of an image to those of image files. A null value becomes the default of its field.

    A value that cannot be converted is returned as it is, and fails the validation. Raises InvalidImageFile for
    metadata that is nested too deeply.
    """
    normalized = {}
    if "status" in image:
        status, normalized["progress"] = _status_and_progress(image["status"])
        image = image | {"status": status}
    for name, value in image.items():
        converted = _convert(name, value)
        # A null visibility is invalid, instead of missing: the image could become visible to everyone.
        if converted is not None or name in _NEVER_NULL:
            normalized[name] = converted
        elif name in field_defaults():
            normalized[name] = field_defaults()[name]
    return normalized


def add_defaults(image: JsonObject, now: str) -> JsonObject:
    """Return a valid image with the fields that it lacks: defaults, and the time at which it is new."""
    created = image.get("created") or image.get("updated") or now
    complete = field_defaults() | {"created": created, "updated": image.get("updated") or created} | image
    return {"progress": _status_and_progress(complete["status"])[1]} | complete


def metadata_text(value: Any) -> str | None:
    """Return a metadata value as Nova and Glance store it: true is "True", arrays and objects are compact JSON text.

    Raises InvalidImageFile for a value that is nested too deeply.
    """
    if isinstance(value, dict | list):
        try:
            return orjson.dumps(value).decode()
        except orjson.JSONEncodeError:
            raise InvalidImageFile("metadata is nested too deeply") from None
    return value if value is None else str(value)


def to_integer(value: Any) -> Any:
    """Convert digits, and numbers such as 20.0, to an integer. Return other values as they are."""
    if isinstance(value, str) and _INTEGER.fullmatch(value):
        return int(value)
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < _MAX_FLOAT else value


def to_utc(value: Any) -> Any:
    """Convert a time to UTC, to the second; without an offset, it is in UTC. Return other values as they are."""
    match = _TIME.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return value
    offset = f"{match['offset_hour']}:{match['offset_minute']}" if match["offset_hour"] else "Z"
    try:
        return utc(f"{match['date']}T{match['hour']}:{match['minute']}:{match['second'] or '00'}{offset}")
    except ValueError:
        return value


def _simplify(name: str) -> str:
    return name.lower().replace("_", "")


def _split(document: JsonObject, schema: Schema) -> tuple[JsonObject, list[str]]:
    """Return the members of an object that its schema has, and the names of the others."""
    names = schema["properties"]
    if document.keys() <= names.keys():
        return document, []
    known = {name: value for name, value in document.items() if name in names}
    return known, [name for name in document if name not in names]


def _status_and_progress(value: Any) -> tuple[Any, int]:
    """Return the Compute status and the progress for a status of Compute or Glance, in upper or lower case."""
    if isinstance(value, str):
        if value.lower() in GLANCE_STATUSES:
            return GLANCE_STATUSES[value.lower()]
        if value.upper() in image_schema()["properties"]["status"]["enum"]:
            return value.upper(), 0
    return value, 0


def _convert(name: str, value: Any) -> Any:
    """Convert the value of a field. Return None if there is none."""
    if name == "metadata" and isinstance(value, dict):
        return {key: metadata_text(item) for key, item in value.items()}
    if name in {"owner", "server"} and value in ("", {}):
        return None
    schema = image_schema()["properties"][name]
    if schema.get("type") == "integer":
        return to_integer(value)
    match schema.get("format"):
        case "date-time":
            return to_utc(value)
        case "uuid" if isinstance(value, str):
            return normalize_uuid(value) or value
    return value
