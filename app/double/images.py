"""Images that a test adds, with defaults for the fields that it omits."""

from collections.abc import Iterator

import orjson

from app.catalog.documents import InvalidImageFile, dump_images, parse_image
from app.catalog.engine import Snapshot
from app.catalog.image_files import GlanceConverter
from app.catalog.image_forms import is_glance_image, normalize_image, select_fields, unknown_field
from app.catalog.models import JsonObject, StoredImage
from app.double.clock import AdjustableClock


def known_fields(image: JsonObject, from_glance: GlanceConverter, *, strict: bool) -> JsonObject:
    """Return those fields of an image that image files can have.

    With `strict`, another field raises InvalidImageFile; otherwise it is left out.
    """
    fields, omitted = from_glance(image) if is_glance_image(image) else (image, [])
    known, others = select_fields(fields)
    for name in [*others, *(name for name, _ in omitted)] if strict else ():
        raise InvalidImageFile(unknown_field(name))
    return known


def complete_image(
    snapshot: Snapshot, image: JsonObject, numbers: Iterator[int], clock: AdjustableClock
) -> StoredImage:
    """Return an image with the fields that it does not state. Raises InvalidImageFile.

    `numbers` are for the ids and names of images that do not state their own. Unless the clock is adjusted in between,
    images are created at the same time: they are listed in the order in which they are added.
    """
    stored = parse_image(normalize_image(_with_defaults(snapshot, image, numbers, clock)))
    _require_visible(stored, image)
    return stored


def _with_defaults(snapshot: Snapshot, image: JsonObject, numbers: Iterator[int], clock: AdjustableClock) -> JsonObject:
    """Return an image with what the catalog has under its id, or with default values."""
    number = next(number for number in numbers if not snapshot.contains(_image_id(number)))
    image = {"id": _image_id(number)} | image
    for stored in snapshot.replicated_images([str(image["id"])]).values():
        document: JsonObject = orjson.loads(b"".join(dump_images([stored.image])))["images"][0]
        if "status" in image:
            del document["progress"]  # it follows from the status
        return document | {"updated": clock.now()} | image
    times = {"created": clock.adjusted(), "updated": image.get("created", clock.now())}
    return {"name": f"image-{number}", "status": "ACTIVE", "visibility": "public"} | times | image


def _require_visible(stored: StoredImage, stated: JsonObject) -> None:
    """Raise InvalidImageFile if a test has left out the field by which projects could see the image.

    Image files that were exported state all fields, and can contain images that no project can see.
    """
    is_open = stored.visibility in {"public", "community"}
    has_members = stored.visibility == "shared" and stored.members != "[]"
    if not (is_open or has_members or stored.owner or "owner" in stated):
        raise InvalidImageFile(
            f"owner is missing: no project could see the image, whose visibility is {stored.visibility}"
        )
    if stated.get("members") and "visibility" not in stated and stored.visibility != "shared":
        raise InvalidImageFile(f"members is for the visibility shared; that of the image is {stored.visibility}")


def _image_id(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012}"
