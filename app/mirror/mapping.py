"""Conversion of Glance's images to the catalog's."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from app.catalog.documents import InvalidImageFile, is_valid_field, is_valid_image, parse_image
from app.catalog.image_forms import GLANCE_STATUSES, metadata_text, to_integer, to_utc
from app.catalog.models import JsonObject, Metadata, StoredImage
from app.text import quote

_UNKNOWN = ("UNKNOWN", 0)
_PLACEHOLDER = {"status": "active", "created_at": "1970-01-01T00:00:00Z", "updated_at": "1970-01-01T00:00:00Z"}

# The base properties of Glance's image schema. All others are custom properties, which become metadata.
BASE_PROPERTIES = frozenset(
    {
        "checksum", "container_format", "created_at", "direct_url", "disk_format", "file", "id", "locations",
        "min_disk", "min_ram", "name", "os_hash_algo", "os_hash_value", "os_hidden", "owner",
        "protected", "schema", "self", "size", "status", "stores", "tags", "updated_at", "virtual_size", "visibility",
    }
)  # fmt: skip


# Names that Glance accepts neither as base properties nor as custom ones.
_RESERVED_PROPERTIES, _RESERVED_PREFIX = frozenset({"location", "deleted", "deleted_at"}), "os_glance"


def is_reserved(key: str) -> bool:
    """Return whether a custom property cannot have this name in Glance, which also strips white space from names."""
    is_changed = key != key.strip()
    return key in BASE_PROPERTIES or key in _RESERVED_PROPERTIES or key.startswith(_RESERVED_PREFIX) or is_changed


class Conversion(NamedTuple):
    """An image of the catalog, and descriptions of the parts of Glance's image that were omitted from it."""

    image: StoredImage
    omitted: list[str]


def convert(image: Any, members: Mapping[str, str] | None = None) -> Conversion:
    """Convert an image of Glance, and its members with their statuses. Omit parts that do not conform to the contract.

    Raises InvalidImageFile if the image cannot be converted without them.
    """
    if not isinstance(image, dict):
        raise InvalidImageFile("it is not an object")
    document, omitted = to_file_image(image, members)
    return Conversion(parse_image(document), [description for _, description in omitted])


def to_catalog_image(image: Any, members: Mapping[str, str] | None = None) -> StoredImage:
    """Convert an image of Glance, as `convert` does."""
    return convert(image, members).image


def to_file_image(
    image: JsonObject, members: Mapping[str, str] | None = None
) -> tuple[JsonObject, list[tuple[str, str]]]:
    """Return an image of Glance in the form of image files, and the fields and descriptions of omitted parts.

    Without the parts that do not conform to the contract, it may still be invalid.
    """
    document = _to_document(image, members)
    properties = [key for key in image if key not in BASE_PROPERTIES and key not in document["metadata"]]
    omitted = [(key, f"the too deeply nested property {quote(key)}") for key in properties]
    return document, omitted if is_valid_image(document) else omitted + list(_omit_invalid_parts(document))


def _to_document(image: JsonObject, members: Mapping[str, str] | None) -> JsonObject:
    """Return an image in the form of image files. It states what Glance states."""
    status, progress = _status_and_progress(image.get("status"))
    document = {
        "id": normalize_image_id(image.get("id")),
        "name": image.get("name"),
        "status": status,
        "progress": progress,
        "created": to_utc(image.get("created_at")),
        "updated": to_utc(image.get("updated_at")),
        "minDisk": _amount(image.get("min_disk")),
        "minRam": _amount(image.get("min_ram")),
        "OS-EXT-IMG-SIZE:size": image.get("size"),
        "metadata": custom_properties(image),
        "owner": image.get("owner") or None,
        "visibility": image.get("visibility"),
    }
    if "os_hidden" in image:
        document["os_hidden"] = bool(image["os_hidden"])
    if members is not None:
        document["members"] = [member for member, status in members.items() if status == "accepted"]
        document["pending_members"] = [member for member, status in members.items() if status != "accepted"]
    return document


def _omit_invalid_parts(document: JsonObject) -> Iterator[tuple[str, str]]:
    """Remove the invalid parts without which an image can still be shown. Yield the field and a description of each."""
    for field, name in (("OS-EXT-IMG-SIZE:size", "size"), ("owner", "owner")):
        if not is_valid_field(field, document[field]):
            yield name, f"the {name} {quote(str(document.pop(field)))}"
    for field in [name for name in ("members", "pending_members") if name in document]:
        invalid = [member for member in document[field] if not is_valid_field(field, [member])]
        document[field] = [member for member in document[field] if member not in invalid]
        yield from (("members", f"the member {quote(str(member))}") for member in invalid)
    name = document["name"]
    if isinstance(name, str) and "\0" in name:
        document["name"] = name.replace("\0", "")
        yield "name", f"the NUL characters of the name {quote(name)}"


def normalize_image_id(image_id: Any) -> Any:
    """Return an id in lower case. A value that is not text is returned as is, and fails the validation."""
    return image_id.lower() if isinstance(image_id, str) else image_id


def custom_properties(image: JsonObject) -> Metadata:
    """Return an image's custom properties as metadata items, whose values are text, without those nested too deeply."""
    metadata = {}
    for key, value in image.items():
        if key not in BASE_PROPERTIES:
            with suppress(InvalidImageFile):
                metadata[key] = metadata_text(value)
    return metadata


def access_of(image: Any) -> tuple[str | None, str] | None:
    """Return the owner and the visibility of an image that may be invalid, or None if these are invalid too."""
    if not isinstance(image, dict):
        return None
    try:
        converted = to_catalog_image(_PLACEHOLDER | {name: image.get(name) for name in ("id", "owner", "visibility")})
    except InvalidImageFile:
        return None
    return converted.owner, converted.visibility


def _status_and_progress(value: Any) -> tuple[Any, int]:
    """Return the status and the progress. A value that is not text is returned as is, and fails the validation."""
    return GLANCE_STATUSES.get(value, _UNKNOWN) if isinstance(value, str) else (value, 0)


def _amount(value: Any) -> Any:
    """Return an amount as a number, 0 if there is none. Other values than numbers fail the validation."""
    return 0 if value is None else to_integer(value)
