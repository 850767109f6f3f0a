"""Images for tests, in the form of a catalog file."""

from pathlib import Path
from typing import Any

import orjson

from app.catalog.documents import ImageFileReader
from app.catalog.models import StoredImage
from app.catalog.transfer import import_images

Fields = dict[str, Any]


def image(number: int = 1, **fields: Any) -> Fields:
    """Make an image whose id tells its number; what matters to a test is given, the rest is plain."""
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


def file_of(*images: Fields) -> bytes:
    return orjson.dumps({"images": images})


def records_of(*images: Fields) -> list[StoredImage]:
    return list(ImageFileReader(owner=None, visibility="public").read("test.json", file_of(*images)))


def catalog_of(folder: Path, *images: Fields) -> Path:
    path = folder / "catalog.db"
    import_images(path, records_of(*images))
    return path
