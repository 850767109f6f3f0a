"""What is answered: rows of the catalog become documents of the API. Pure functions; nothing is read or looked up."""

from collections.abc import Callable

from app.api.links import LinkBuilder
from app.catalog.documents import image_fields
from app.catalog.models import Image, JsonObject, Page, SyncStatus

ImageSerializer = Callable[[Image, LinkBuilder], JsonObject]

_VERSION_UPDATED = "2011-01-21T11:33:21Z"  # when version 2 of the API became what it is, as Nova says it


def serialize_version(compute: str) -> JsonObject:
    """Give what is said of the one version of the API, which has no microversions."""
    return {
        "id": "v2.0",
        "status": "CURRENT",
        "version": "",
        "min_version": "",
        "updated": _VERSION_UPDATED,
        "links": [{"rel": "self", "href": f"{compute}/v2/"}],
    }


def serialize_mirror_health(passes: SyncStatus, now: float) -> JsonObject:
    """Give what is said of the passes of a mirror, at a time in seconds since 1970."""
    return {"age": None if passes.good is None else max(0, int(now - passes.good)), "error": passes.error}


def serialize_image_summary(image: Image, links: LinkBuilder) -> JsonObject:
    """Give what the short list has of an image."""
    return {"id": image.id, "name": image.name, "links": links.image(image.id)}


def serialize_image(image: Image, links: LinkBuilder) -> JsonObject:
    """Give all details of an image."""
    details = image_fields(image)
    details["links"] = links.image(image.id)
    if image.server is not None:
        details["server"] = {"id": image.server, "links": links.server(image.server)}
    return details


def serialize_page(page: Page, view: ImageSerializer, links: LinkBuilder, path: str, query_string: bytes) -> JsonObject:
    """Give a page of images, with the link to the next one where there is one."""
    document: JsonObject = {"images": [view(image, links) for image in page.images]}
    if page.more:
        document["images_links"] = links.next_page(path, query_string, page.images[-1].id)
    return document
