"""Serializers of images and of the service's state to JSON documents of the API. Pure functions, without I/O."""

from collections.abc import Callable
from itertools import islice

from app.api.links import LinkBuilder
from app.catalog.documents import image_fields
from app.catalog.models import Image, JsonObject, SyncStatus

ImageSerializer = Callable[[Image, LinkBuilder], JsonObject]

_MAX_PROBLEMS = 100  # images
_VERSION_UPDATED = "2011-01-21T11:33:21Z"  # the date of version 2.0 in Nova


def serialize_version(compute_url: str) -> JsonObject:
    """Return the document of the API's version 2.0, which has no microversions."""
    return {
        "id": "v2.0",
        "status": "CURRENT",
        "version": "",
        "min_version": "",
        "updated": _VERSION_UPDATED,
        "links": [{"rel": "self", "href": f"{compute_url}/v2/"}],
    }


def serialize_mirror_health(status: SyncStatus, age: float, *, is_stale: bool, with_images: bool) -> JsonObject:
    """Return the age of the replica in seconds, the last sync's error, and which images have problems.

    Without `with_images`, the images are only counted.
    """
    document: JsonObject = {
        "status": "warning" if is_stale or status.error or status.failed else "ok",
        "age": int(age),
        "error": status.error,
        "failed": len(status.failed),
        "incomplete": len(status.incomplete),
    }
    if with_images:
        problems = islice({**status.failed, **status.incomplete}.items(), _MAX_PROBLEMS)
        document["problems"] = [{"id": image_id, "problem": problem} for image_id, problem in problems]
    return document


def serialize_image_summary(image: Image, links: LinkBuilder) -> JsonObject:
    """Return an image for the list without details: id, name and links."""
    return {"id": image.id, "name": image.name, "links": links.image(image.id)}


def serialize_image(image: Image, links: LinkBuilder) -> JsonObject:
    """Return an image with all details."""
    details = image_fields(image)
    details["links"] = links.image(image.id)
    server_id = details["metadata"].get("instance_uuid")
    if server_id:
        details["server"] = {"id": server_id, "links": links.server(server_id)}
    return details
