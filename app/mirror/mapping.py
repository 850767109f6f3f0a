"""What an image of Glance's is in the catalog."""

import re
from collections.abc import Iterable
from typing import Any

from app.catalog.documents import InvalidImageFile, parse_image
from app.catalog.models import JsonObject, Metadata, StoredImage
from app.errors import ImageNotFound
from app.timestamps import utc

_STATUSES = {
    "active": ("ACTIVE", 100),
    "queued": ("SAVING", 25),
    "saving": ("SAVING", 50),
    "killed": ("ERROR", 0),
    "deleted": ("DELETED", 0),
    "pending_delete": ("DELETED", 0),
}
_UNKNOWN = ("UNKNOWN", 0)
_PLACEHOLDER = {"status": "active", "created_at": "1970-01-01T00:00:00Z", "updated_at": "1970-01-01T00:00:00Z"}

# What Glance itself says of an image. All else are properties that somebody gave it.
_FIELDS = frozenset(
    {
        "checksum", "container_format", "created_at", "direct_url", "disk_format", "file", "id", "locations",
        "min_disk", "min_ram", "name", "os_hash_algo", "os_hash_value", "os_hidden", "owner",
        "protected", "schema", "self", "size", "status", "stores", "tags", "updated_at", "virtual_size", "visibility",
    }
)  # fmt: skip


def is_field(key: str) -> bool:
    """Tell whether Glance itself says this of an image: no property can have the name."""
    return key in _FIELDS


def to_catalog_image(image: Any, members: Iterable[str] = ()) -> StoredImage:
    """Give what the catalog has of an image. Raises BadFile where the contract has no such image."""
    if not isinstance(image, dict):
        raise InvalidImageFile("it is no object")
    status, progress = _status_and_progress(image.get("status"))
    known = {"OS-EXT-IMG-SIZE:size": image.get("size"), "owner": image.get("owner")}
    return parse_image(
        {
            "id": image.get("id"),
            "name": image.get("name"),
            "status": status,
            "progress": progress,
            "created": _time(image.get("created_at")),
            "updated": _time(image.get("updated_at")),
            "minDisk": _integer(image.get("min_disk")),
            "minRam": _integer(image.get("min_ram")),
            "metadata": properties(image),
            "visibility": image.get("visibility"),
            "members": list(members),
        }
        | {name: value for name, value in known.items() if value is not None}
    )


def properties(image: JsonObject) -> Metadata:
    """Give the properties of an image as items of metadata, which are text; nested ones are left out."""
    return {
        key: value if value is None else str(value)
        for key, value in image.items()
        if not is_field(key) and not isinstance(value, dict | list)
    }


def require_not_deleted(image: Any) -> StoredImage:
    """Give what the catalog has of an image. Raises ImageNotFound where it waits for its end, and BadFile."""
    record = to_catalog_image(image)
    if record.status == "DELETED":
        raise ImageNotFound
    return record


def is_visible(image: JsonObject, record: StoredImage) -> bool:
    """Tell whether lists of Glance have an image: neither one that is hidden, nor one that waits for its end."""
    return record.status != "DELETED" and not image.get("os_hidden")


def access_of(image: Any) -> tuple[str | None, str] | None:
    """Tell who owns an image and who may see it, where so much can be told of one that cannot be copied."""
    if not isinstance(image, dict):
        return None
    try:
        record = to_catalog_image(_PLACEHOLDER | {name: image.get(name) for name in ("id", "owner", "visibility")})
    except InvalidImageFile:
        return None
    return record.owner, record.visibility


def _status_and_progress(value: Any) -> tuple[Any, int]:
    """Give the status and the progress; what is no text stays, for the schema to complain about."""
    return _STATUSES.get(value, _UNKNOWN) if isinstance(value, str) else (value, 0)


def _time(value: Any) -> Any:
    """Give a time as the catalog has it; what is none stays, for the schema to complain about."""
    try:
        return utc(value)
    except (TypeError, ValueError):
        return value


def _integer(value: Any) -> Any:
    if value is None:
        return 0
    return int(value) if isinstance(value, str) and re.fullmatch("[0-9]{1,10}", value) else value
