"""Conversion of Glance's images to the catalog's."""

from collections.abc import Iterable
from typing import Any

from app.catalog.documents import InvalidImageFile, parse_image
from app.catalog.image_forms import GLANCE_STATUSES, integer, metadata_text, time
from app.catalog.models import JsonObject, Metadata, StoredImage
from app.errors import ImageNotFound

_UNKNOWN = ("UNKNOWN", 0)
_PLACEHOLDER = {"status": "active", "created_at": "1970-01-01T00:00:00Z", "updated_at": "1970-01-01T00:00:00Z"}

# The base properties of Glance's image schema. All others are custom properties, which become metadata.
_BASE_PROPERTIES = frozenset(
    {
        "checksum", "container_format", "created_at", "direct_url", "disk_format", "file", "id", "locations",
        "min_disk", "min_ram", "name", "os_hash_algo", "os_hash_value", "os_hidden", "owner",
        "protected", "schema", "self", "size", "status", "stores", "tags", "updated_at", "virtual_size", "visibility",
    }
)  # fmt: skip


# Names that Glance accepts neither as base properties nor as custom ones.
_RESERVED_PROPERTIES, _RESERVED_PREFIX = frozenset({"location", "deleted", "deleted_at"}), "os_glance"


def is_base_property(key: str) -> bool:
    """Return whether a key is a base property of Glance's images, whose names custom properties cannot have."""
    return key in _BASE_PROPERTIES


def is_reserved(key: str) -> bool:
    """Return whether Glance never accepts a key for a custom property. It strips white space from keys."""
    is_changed = key != key.strip()
    return is_base_property(key) or key in _RESERVED_PROPERTIES or key.startswith(_RESERVED_PREFIX) or is_changed


def to_catalog_image(image: Any, members: Iterable[str] = ()) -> StoredImage:
    """Convert an image of Glance. Raises InvalidImageFile if the result does not conform to the contract."""
    if not isinstance(image, dict):
        raise InvalidImageFile("it is not an object")
    return parse_image(_to_file_form(image) | {"members": list(members)})


def to_file_image(image: JsonObject) -> JsonObject | None:
    """Return an image of Glance in the form of image files, which may be invalid. None if it is hidden."""
    return None if image.get("os_hidden") else _to_file_form(image)


def custom_properties(image: JsonObject) -> Metadata:
    """Return an image's custom properties as metadata items, whose values are text. Raises InvalidImageFile."""
    return {key: metadata_text(value) for key, value in image.items() if not is_base_property(key)}


def to_existing_image(image: Any) -> StoredImage:
    """Convert an image of Glance. Raises ImageNotFound if it is (being) deleted, and InvalidImageFile."""
    converted = to_catalog_image(image)
    if converted.status == "DELETED":
        raise ImageNotFound
    return converted


def is_visible(image: JsonObject, converted: StoredImage) -> bool:
    """Return whether an image appears in Glance's lists, which omit hidden images and those being deleted."""
    return converted.status != "DELETED" and not image.get("os_hidden")


def access_of(image: Any) -> tuple[str | None, str] | None:
    """Return the owner and the visibility of an image that may be invalid, or None if these are invalid too."""
    if not isinstance(image, dict):
        return None
    try:
        converted = to_catalog_image(_PLACEHOLDER | {name: image.get(name) for name in ("id", "owner", "visibility")})
    except InvalidImageFile:
        return None
    return converted.owner, converted.visibility


def _to_file_form(image: JsonObject) -> JsonObject:
    status, progress = _status_and_progress(image.get("status"))
    optional = {"OS-EXT-IMG-SIZE:size": image.get("size"), "owner": image.get("owner") or None}
    return {
        "id": image.get("id"),
        "name": image.get("name"),
        "status": status,
        "progress": progress,
        "created": time(image.get("created_at")),
        "updated": time(image.get("updated_at")),
        "minDisk": _amount(image.get("min_disk")),
        "minRam": _amount(image.get("min_ram")),
        "metadata": custom_properties(image),
        "visibility": image.get("visibility"),
    } | {name: value for name, value in optional.items() if value is not None}


def _status_and_progress(value: Any) -> tuple[Any, int]:
    """Return the status and the progress. A value that is not text is returned as is, and fails the validation."""
    return GLANCE_STATUSES.get(value, _UNKNOWN) if isinstance(value, str) else (value, 0)


def _amount(value: Any) -> Any:
    """Return an amount as a number, 0 if there is none. Other values than numbers fail the validation."""
    return 0 if value is None else integer(value)
