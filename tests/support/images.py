"""Images for tests, in the form of a catalog file."""

from pathlib import Path
from typing import Any, TypeVar

import orjson

from app.catalog.documents import parse_image
from app.catalog.engines import open_catalog
from app.catalog.models import StoredImage
from app.catalog.transfer import import_images

Fields = dict[str, Any]
Location = TypeVar("Location", str, Path)


def image(number: int = 1, **fields: Any) -> Fields:
    """Return an image whose id ends in its number, with plain values for the fields that are not given."""
    return {
        "id": image_id(number),
        "name": None,
        "status": "ACTIVE",
        "progress": 100,
        "created": "2020-01-01T00:00:00Z",
        "updated": "2020-01-01T00:00:00Z",
        "minDisk": 0,
        "minRam": 0,
        "metadata": {},
    } | fields


def image_id(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012}"


def image_number(id_: str) -> int:
    return int(id_[-12:])


def file_of(*images: Fields) -> bytes:
    return orjson.dumps({"images": images})


def stored_images(*images: Fields) -> list[StoredImage]:
    """Return the images as the catalog stores them; they are public by default."""
    return [parse_image({"visibility": "public"} | each) for each in images]


def catalog_of(folder: Path, *images: Fields) -> Path:
    """Import the images into a new SQLite catalog in a folder, and return its path."""
    return catalog_at(folder / "catalog.db", *images)


def catalog_at(location: Location, *images: Fields) -> Location:
    """Import the images into the catalog at a location, and return the location."""
    import_images(open_catalog(location), stored_images(*images), tombstone_days=30)
    return location
